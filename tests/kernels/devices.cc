#include "tests/kernels/ops_fixture.h"

namespace Atoll::kernels::testing {

std::vector<Device> devices() {
    return {
        {"cpu1", [] { return make_cpu_ops(1); }},
        {"cpu3", [] { return make_cpu_ops(3); }},
    };
}

}  // namespace Atoll::kernels::testing
