#include "gossip/codec/entries.h"

#include <fmt/core.h>

#include "kernels/quantize/quantize.h"

namespace Atoll::gossip {

namespace {
// Below this a vector is done before a sleeping thread has woken up.
constexpr std::size_t kParallelCountMin = std::size_t{1} << 16U;
}  // namespace

CodecThreads::CodecThreads(int threads) {
    if (threads > 1) pool_ = std::make_unique<kernels::ThreadPool>(threads);
}

void CodecThreads::run(std::size_t count,
                       const std::function<void(std::size_t begin, std::size_t end)>& task) const {
    if (pool_ != nullptr && count >= kParallelCountMin) {
        pool_->range(count, kernels::kQuantizeBlock, task);
    } else if (count > 0) {
        task(0, count);
    }
}

void CodecThreads::run_parts(std::size_t parts, std::size_t count,
                             const std::function<void(std::size_t begin, std::size_t end)>& task) const {
    if (pool_ != nullptr && count >= kParallelCountMin) {
        pool_->range(parts, 1, task);
    } else if (parts > 0) {
        task(0, parts);
    }
}

Error wrong_length(std::string_view codec, std::size_t bytes, std::size_t count, std::size_t expected) {
    return {ErrorCode::corrupt, fmt::format("{} bytes for {} values in codec {}, expected {} bytes", bytes,
                                            count, codec, expected)};
}

}  // namespace Atoll::gossip
