#include "gossip/averaging/parts.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "kernels/quantize/quantize.h"

namespace Atoll::gossip {

bool fits_parts(const std::vector<SharePart>& described, std::span<const AveragePart> parts) {
    return std::ranges::equal(described, parts, [](const SharePart& theirs, const AveragePart& ours) {
        return theirs.codec == ours.codec->wire_id() && theirs.count == ours.values.size() &&
               theirs.bytes == ours.codec->encoded_bytes(ours.values.size());
    });
}

std::string objection_to_payload(const std::vector<SharePart>& described, ByteView payload,
                                 std::span<const AveragePart> parts, double norm, double ratio_max,
                                 kernels::FlatBuffer& scratch) {
    if (!fits_parts(described, parts)) return "its parts differ from ours in number, size or codec";
    std::size_t announced = 0;
    for (const SharePart& part : described) announced += static_cast<std::size_t>(part.bytes);
    if (announced != payload.size())
        return fmt::format("payload of {} bytes, announced {}", payload.size(), announced);
    double sum = 0;
    std::size_t at = 0;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const std::size_t count = parts[i].values.size();
        const auto bytes = static_cast<std::size_t>(described[i].bytes);
        if (scratch.size() < count) scratch = kernels::FlatBuffer(count);
        const std::span<float> values = scratch.span().first(count);
        const Status decoded = parts[i].codec->decode(payload.subspan(at, bytes), values, 1, false);
        if (!decoded.ok()) return decoded.error().message;
        sum += kernels::sum_of_squares(values.data(), count);
        at += bytes;
    }
    const double theirs = std::sqrt(sum);
    if (norm > 0 && theirs > ratio_max * norm) {
        return fmt::format("norm {:.3g} is more than {:g} times ours, {:.3g}", theirs, ratio_max, norm);
    }
    return "";
}

}  // namespace Atoll::gossip
