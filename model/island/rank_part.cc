#include "model/island/rank_part.h"

namespace Atoll::model {

Status RankPart::next(TokenBatch& batch) {
    const std::uint64_t begin = source_.position();
    const auto sequences = static_cast<std::uint64_t>(batch.batch);
    source_.seek(begin + rank_ * sequences);
    const Status read = source_.next(batch);
    source_.seek(begin + ranks_ * sequences);
    return read;
}

}  // namespace Atoll::model
