#include "federation/worker.h"

#include "kernels/normals.h"

namespace Atoll::federation {

Result<model::BatchLoss> Worker::loss(model::Draw /*draw*/) {
    return Error{ErrorCode::unavailable, "this worker measures no loss without a step"};
}

void Worker::add_normals(std::span<const kernels::NormalTerm> terms) {
    for (const auto& run : layout().runs())
        kernels::add_normals(terms, run.offset, parameters().data() + run.offset, run.size);
    parameters_changed();
}

}  // namespace Atoll::federation
