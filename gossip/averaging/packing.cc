#include "gossip/averaging/packing.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "gossip/codec/seed.h"
#include "gossip/topology/digest.h"
#include "kernels/quantize/quantize.h"

namespace Atoll::gossip {

double norm_of(std::span<const AveragePart> parts) {
    double sum = 0;
    for (const AveragePart& part : parts)
        sum += kernels::sum_of_squares(part.values.data(), part.values.size());
    return std::sqrt(sum);
}

Error own_values_not_finite(std::uint64_t round) {
    return {ErrorCode::invalid, fmt::format("round {}: our own values contain NaN or infinity, or are too "
                                            "large; nothing was sent",
                                            round)};
}

void Packing::begin(std::uint64_t round, std::span<const AveragePart> parts) {
    round_ = round;
    parts_ = parts;
    changed();
    pieces_.clear();
    std::size_t at = 0;
    for (std::size_t p = 0; p < parts.size(); ++p) {
        const std::size_t size = parts[p].values.size();
        for (std::size_t begin = 0; begin < size; begin += std::min(piece_values_, size - begin)) {
            const std::size_t count = std::min(piece_values_, size - begin);
            const std::size_t bytes = parts[p].codec->encoded_bytes(count);
            pieces_.push_back({p, begin, count, at, bytes});
            at += bytes;
        }
    }
}

std::size_t Packing::encoded_bytes(std::size_t part) const {
    std::size_t bytes = 0;
    for (const Piece& piece : pieces_) bytes += piece.part == part ? piece.bytes : 0;
    return bytes;
}

SharedBytes Packing::pack(MixShare& share) const {
    for (std::size_t p = 0; p < parts_.size(); ++p)
        share.parts.push_back({parts_[p].codec->wire_id(), parts_[p].values.size(), encoded_bytes(p)});
    const std::size_t bytes = pieces_.empty() ? 0 : pieces_.back().at + pieces_.back().bytes;
    // Shared by the messages to all receivers and our own sum; not zeroed, as it is all written.
    const std::shared_ptr<std::byte[]> buffer = std::make_shared_for_overwrite<std::byte[]>(bytes);
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
        const Piece& piece = pieces_[i];
        const AveragePart& part = parts_[piece.part];
        const std::size_t turns = part.residuals.size();
        const std::span<float> residual =
            turns == 0 ? std::span<float>{} : part.residuals[share.stage % turns];
        const CodecSeed seed =
            codec_seed(context_.options.seed, context_.host.self(), round_, share.stage, i);
        (void)part.codec->encode(part.values.subspan(piece.begin, piece.count),
                                 residual.empty() ? residual : residual.subspan(piece.begin, piece.count),
                                 {buffer.get() + piece.at, piece.bytes}, {}, seed);
    }
    return {buffer, ByteView(buffer.get(), bytes)};
}

bool Packing::fits(const MixShare& share) const {
    if (share.parts.size() != parts_.size()) return false;
    for (std::size_t p = 0; p < parts_.size(); ++p) {
        const SharePart& theirs = share.parts[p];
        if (theirs.codec != parts_[p].codec->wire_id() || theirs.count != parts_[p].values.size() ||
            theirs.bytes != encoded_bytes(p)) {
            return false;
        }
    }
    return true;
}

std::string Packing::objection(const MixShare& share, ByteView payload) {
    if (!fits(share)) return "its parts differ from ours in number, size or codec";
    std::size_t bytes = 0;
    for (const SharePart& part : share.parts) bytes += static_cast<std::size_t>(part.bytes);
    if (bytes != payload.size())
        return fmt::format("payload of {} bytes, announced {}", payload.size(), bytes);
    if (std::string reason = schedule_objection(schedule(), share.schedule); !reason.empty()) return reason;
    return objection_to_values(payload);
}

Result<std::span<const float>> Packing::decode(const Piece& piece, ByteView payload) {
    if (scratch_.size() < piece.count) scratch_ = kernels::FlatBuffer(piece.count);
    const std::span<float> values = scratch_.span().first(piece.count);
    ATOLL_TRY(parts_[piece.part].codec->decode(payload.subspan(piece.at, piece.bytes), values, 1, false));
    return std::span<const float>(values);
}

std::string Packing::objection_to_values(ByteView payload) {
    double sum = 0;
    for (const Piece& piece : pieces_) {
        const auto values = decode(piece, payload);
        if (!values.ok()) return values.error().message;
        sum += kernels::sum_of_squares(values->data(), values->size());
    }
    const double norm = std::sqrt(sum);
    if (norm_ > 0 && norm > context_.options.norm_ratio_max * norm_) {
        return fmt::format("norm {:.3g} is more than {:g} times ours, {:.3g}", norm,
                           context_.options.norm_ratio_max, norm_);
    }
    return "";
}

double Packing::disagreement(ByteView payload) {
    double sum = 0;
    for (const Piece& piece : pieces_) {
        const auto values = decode(piece, payload);
        const auto own = parts_[piece.part].values.subspan(piece.begin, piece.count);
        if (values.ok()) sum += kernels::squared_distance(values->data(), own.data(), own.size());
    }
    if (sum == 0) return 0;
    return norm_ > 0 ? std::sqrt(sum) / norm_ : std::numeric_limits<double>::infinity();
}

const Hash& Packing::schedule() {
    const View& view = context_.inbox.view();
    auto& [epoch, digest] = schedule_;
    if (!digest || epoch != view.epoch) digest = schedule_digest(context_.topology, view);
    epoch = view.epoch;
    return *digest;
}

}  // namespace Atoll::gossip
