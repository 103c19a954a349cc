#include "gossip/codec/group_codec.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/rng.h"
#include "kernels/quantize/quantize.h"

namespace Atoll::gossip {

namespace {

constexpr std::size_t kSeedBytes = 8;

}  // namespace

std::size_t GroupCodec::encoded_bytes(std::size_t count) const {
    if (count == 0) return 0;
    const std::size_t whole = count / description_.group, rest = count % description_.group;
    return (description_.seeded ? kSeedBytes : 0) +
           whole * (whole > 0 ? group_bytes(description_.group) : 0) + (rest > 0 ? group_bytes(rest) : 0);
}

GroupCodec::Group GroupCodec::group(std::size_t index, std::size_t count, std::uint64_t seed) const {
    const std::size_t begin = index * description_.group;
    const std::size_t before = index > 0 ? index * group_bytes(description_.group) : 0;
    return {.begin = begin,
            .count = std::min(description_.group, count - begin),
            .at = (description_.seeded ? kSeedBytes : 0) + before,
            .seed = mix64(seed ^ mix64(index))};
}

void GroupCodec::for_groups(std::size_t count, std::uint64_t seed,
                            const std::function<void(const Group&, std::span<float>)>& task) const {
    const std::size_t groups = (count + description_.group - 1) / description_.group;
    threads_.run_parts(groups, count, [&](std::size_t begin, std::size_t end) {
        thread_local std::vector<float> scratch;  // kept: zeroing it would cost as much as the work
        if (scratch.size() < 2 * description_.group) scratch.resize(2 * description_.group);
        for (std::size_t i = begin; i < end; ++i) task(group(i, count, seed), scratch);
    });
}

std::size_t GroupCodec::encode(std::span<const float> values, std::span<float> residual,
                               std::span<std::byte> out, std::span<float> decoded,
                               const CodecSeed& seed) const {
    ATOLL_CHECK(out.size() >= encoded_bytes(values.size()));
    ATOLL_CHECK(residual.empty() || residual.size() == values.size());
    ATOLL_CHECK(decoded.empty() || decoded.size() == values.size());
    if (values.empty()) return 0;
    if (description_.seeded) std::memcpy(out.data(), &seed.shared, kSeedBytes);
    for_groups(values.size(), seed.shared, [&](const Group& group, std::span<float> scratch) {
        const std::span<float> x = scratch.first(group.count);
        const std::span<float> seen = scratch.subspan(group.count, group.count);
        std::copy_n(values.data() + group.begin, group.count, x.data());
        if (!residual.empty()) {
            for (std::size_t i = 0; i < group.count; ++i) x[i] += residual[group.begin + i];
        }
        std::byte* const to = out.data() + group.at;
        if (!kernels::all_finite_fp32(reinterpret_cast<const std::byte*>(x.data()), x.size())) {
            return poison(to, group.count);
        }
        encode_group(x, group.seed, to);
        if (residual.empty() && decoded.empty()) return;
        // Mixing values near the end of the fp32 range may overflow.
        if (!decode_group(to, group.seed, seen)) return poison(to, group.count);
        for (std::size_t i = 0; i < group.count; ++i) {
            if (!residual.empty()) residual[group.begin + i] = x[i] - seen[i];
            if (!decoded.empty()) decoded[group.begin + i] = seen[i];
        }
    });
    return encoded_bytes(values.size());
}

Status GroupCodec::decode(ByteView bytes, std::span<float> out, float scale, bool accumulate) const {
    if (bytes.size() != encoded_bytes(out.size())) {
        return wrong_length(name(), bytes.size(), out.size(), encoded_bytes(out.size()));
    }
    if (out.empty()) return {};
    std::uint64_t seed = 0;
    if (description_.seeded) std::memcpy(&seed, bytes.data(), kSeedBytes);
    // Everything is checked before anything is written.
    std::atomic<bool> valid = true;
    for_groups(out.size(), seed, [&](const Group& group, std::span<float> scratch) {
        if (!decode_group(bytes.data() + group.at, group.seed, scratch.first(group.count))) valid = false;
    });
    if (!valid) {
        return Error{ErrorCode::corrupt,
                     "an index, a code or a value in codec " + std::string(name()) + " is out of range"};
    }
    for_groups(out.size(), seed, [&](const Group& group, std::span<float> scratch) {
        const std::span<float> seen = scratch.first(group.count);
        ATOLL_CHECK(decode_group(bytes.data() + group.at, group.seed, seen));
        float* const to = out.data() + group.begin;
        for (std::size_t i = 0; i < group.count; ++i)
            to[i] = accumulate ? to[i] + seen[i] * scale : seen[i] * scale;
    });
    return {};
}

void pack_indices(std::span<const std::uint16_t> indices, std::byte* out) {
    for (std::size_t i = 0; i < indices.size(); i += 2) {
        const std::uint32_t second = i + 1 < indices.size() ? indices[i + 1] : 0;
        const std::uint32_t pair = indices[i] | second << 12U;
        std::memcpy(out, &pair, i + 1 < indices.size() ? 3 : 2);
        out += 3;
    }
}

bool unpack_indices(const std::byte* in, std::size_t limit, std::span<std::uint16_t> indices) {
    bool valid = true;
    for (std::size_t i = 0; i < indices.size(); i += 2) {
        std::uint32_t pair = 0;
        std::memcpy(&pair, in, i + 1 < indices.size() ? 3 : 2);
        in += 3;
        indices[i] = pair & 0xFFFU;
        if (i + 1 < indices.size()) indices[i + 1] = static_cast<std::uint16_t>(pair >> 12U);
    }
    for (std::size_t i = 0; i < indices.size(); ++i) {
        valid &= indices[i] < limit && (i == 0 || indices[i] > indices[i - 1]);
    }
    return valid;
}

std::uint16_t to_bf16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t magnitude = std::min((bits & 0x7FFFFFFFU) + 0x8000U, 0x7F7FFFFFU);
    return static_cast<std::uint16_t>((magnitude | (bits & 0x80000000U)) >> 16U);
}

float from_bf16(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U); }

std::size_t kept_of(std::size_t count, double density) {
    const double kept = std::round(density * static_cast<double>(count));
    return std::clamp<std::size_t>(static_cast<std::size_t>(kept), 1, count);
}

}  // namespace Atoll::gossip
