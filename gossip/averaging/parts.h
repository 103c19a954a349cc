// What averagings do with the parts of a payload: encode ours, judge those of others.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "gossip/averaging/averaging.h"
#include "gossip/message.h"
#include "kernels/flat.h"

namespace Atoll::gossip {

// Number, sizes and codecs are ours.
[[nodiscard]] bool fits_parts(const std::vector<SharePart>& described, std::span<const AveragePart> parts);

// Encodes the values of every part, one after the other, each with the residual of the same index (empty:
// none), and appends what was written to `described`. `seed` gives that of a part.
template <typename Seed>
[[nodiscard]] SharedBytes encode_parts(std::span<const AveragePart> parts,
                                       std::span<const std::span<float>> residuals,
                                       std::vector<SharePart>& described, const Seed& seed) {
    std::size_t bytes = 0;
    for (const AveragePart& part : parts) bytes += part.codec->encoded_bytes(part.values.size());
    // Shared by all messages that carry it; not zeroed, as it is all written.
    const std::shared_ptr<std::byte[]> buffer = std::make_shared_for_overwrite<std::byte[]>(bytes);
    std::size_t at = 0;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const AveragePart& part = parts[i];
        const std::span<float> residual = i < residuals.size() ? residuals[i] : std::span<float>{};
        const std::size_t room = part.codec->encoded_bytes(part.values.size());
        const std::size_t written =
            part.codec->encode(part.values, residual, {buffer.get() + at, room}, {}, seed(i));
        described.push_back({part.codec->wire_id(), part.values.size(), written});
        at += written;
    }
    return {buffer, ByteView(buffer.get(), at)};
}

// Why a payload is not acceptable, in words; empty if it is: other parts than ours, a length that is not
// announced, a value that is not finite, a norm of more than `ratio_max` times `norm` (0: no bound).
// `scratch` grows as needed.
[[nodiscard]] std::string objection_to_payload(const std::vector<SharePart>& described, ByteView payload,
                                               std::span<const AveragePart> parts, double norm,
                                               double ratio_max, kernels::FlatBuffer& scratch);

}  // namespace Atoll::gossip
