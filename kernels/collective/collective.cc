#include "kernels/collective/collective.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace Atoll::kernels {

namespace {

class Alone final : public Collective {
  public:
    [[nodiscard]] std::string name() const override { return "alone"; }
    [[nodiscard]] int rank() const override { return 0; }
    [[nodiscard]] int size() const override { return 1; }
    Status reduce_scatter(std::span<float>, const Parts&) override { return {}; }
    Status all_gather(std::span<float>, const Parts&) override { return {}; }
    Status broadcast(std::span<float>) override { return {}; }
    Result<std::vector<Bytes>> all_gather(ByteView mine) override {
        return std::vector<Bytes>{Bytes(mine.begin(), mine.end())};
    }
    Result<Bytes> broadcast(ByteView bytes) override { return Bytes(bytes.begin(), bytes.end()); }
};

}  // namespace

std::unique_ptr<Collective> make_alone() { return std::make_unique<Alone>(); }

Parts Parts::even(std::size_t total, int ranks) {
    std::vector<std::size_t> ends;
    const auto count = static_cast<std::size_t>(ranks);
    for (std::size_t i = 1; i <= count; ++i) ends.push_back(total / count * i + std::min(i, total % count));
    return Parts(std::move(ends));
}

Status Collective::all_reduce(std::span<float> vector) {
    const Parts parts = Parts::even(vector.size(), size());
    ATOLL_TRY(reduce_scatter(vector, parts));
    return all_gather(vector, parts);
}

Status Collective::sum(std::span<double> values) {
    ATOLL_ASSIGN(const std::vector<Bytes> all, all_gather(std::as_bytes(values)));
    std::ranges::fill(values, 0.0);
    for (const Bytes& bytes : all) {
        if (bytes.size() != values.size_bytes()) {
            return Error{ErrorCode::failed,
                         fmt::format("a rank gave {} bytes where the others gave {}: do all ranks run the "
                                     "same program with the same configuration?",
                                     bytes.size(), values.size_bytes())};
        }
        for (std::size_t i = 0; i < values.size(); ++i) {
            double value = 0;
            std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
            values[i] += value;
        }
    }
    return {};
}

Status Collective::barrier() {
    const auto all = all_gather(ByteView());
    return all.ok() ? Status() : all.error();
}

Status Collective::agree(const Status& mine) {
    // The error's code, then its message.
    std::string text;
    if (!mine.ok()) text = static_cast<char>(mine.error().code) + mine.error().message;
    ATOLL_ASSIGN(const std::vector<Bytes> all, all_gather(as_byte_view(text)));
    for (std::size_t i = 0; i < all.size(); ++i) {
        if (all[i].empty()) continue;
        if (static_cast<int>(i) == rank() || size() == 1) return mine;
        const auto code = std::to_integer<unsigned>(all[i][0]);
        const std::string message(reinterpret_cast<const char*>(all[i].data()) + 1, all[i].size() - 1);
        const bool known = code <= static_cast<unsigned>(ErrorCode::interrupted);
        return Error{known ? static_cast<ErrorCode>(code) : ErrorCode::failed,
                     fmt::format("rank {}: {}", i, message)};
    }
    return {};
}

}  // namespace Atoll::kernels
