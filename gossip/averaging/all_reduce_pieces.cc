// The arithmetic of AllReduce: what becomes of one piece.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "gossip/averaging/all_reduce.h"
#include "gossip/codec/seed.h"
#include "kernels/hash/tree_hash.h"
#include "kernels/quantize/quantize.h"

namespace Atoll::gossip {

namespace {

std::span<float> residual_of(const AveragePart& part) {
    return part.residuals.empty() ? std::span<float>{} : part.residuals[0];
}

// sum = or += scale * (values + residual), from `begin` of the part on.
void add_own(const AveragePart& part, std::size_t begin, float scale, bool accumulate, std::span<float> sum) {
    const float* own = part.values.data() + begin;
    const std::span<float> all = residual_of(part);
    const float* residual = all.empty() ? nullptr : all.data() + begin;
    for (std::size_t i = 0; i < sum.size(); ++i) {
        const float value = residual == nullptr ? own[i] : own[i] + residual[i];
        sum[i] = accumulate ? sum[i] + scale * value : scale * value;
    }
}

}  // namespace

SharedBytes AllReduce::encode_contribution(std::uint32_t index) {
    const Piece& piece = pieces_[index];
    const AveragePart& part = parts_[piece.part];
    std::span<float> residual = residual_of(part);
    if (!residual.empty()) {
        // What the residual becomes; the caller's stays, so that encoding again gives the same bytes.
        const auto before = residual.subspan(piece.begin, piece.count);
        residual = residual_.span().subspan(piece.offset, piece.count);
        std::ranges::copy(before, residual.begin());
    }
    const std::size_t room = part.codec->encoded_bytes(piece.count);
    const std::shared_ptr<std::byte[]> buffer = std::make_shared_for_overwrite<std::byte[]>(room);
    const CodecSeed seed =
        codec_seed(context_.options.seed, context_.host.self(), round_, 2 * attempt_, index);
    const std::size_t written = part.codec->encode(part.values.subspan(piece.begin, piece.count), residual,
                                                   {buffer.get(), room}, {}, seed);
    return {buffer, ByteView(buffer.get(), written)};
}

// Adds the contributions that are next in the order of the group.
void AllReduce::sum(std::uint32_t index) {
    Piece& piece = pieces_[index];
    const AveragePart& part = parts_[piece.part];
    const std::span<float> sum = result_.span().subspan(piece.offset, piece.count);
    for (; piece.summed < peers_.size(); ++piece.summed) {
        const float weight = scale(piece.summed);
        if (weight == 0) continue;
        const bool add = std::exchange(piece.begun, true);
        if (piece.summed == me_) {
            // Our own is not encoded: nothing of it, nor of the residual, is lost here.
            add_own(part, piece.begin, weight, add, sum);
            continue;
        }
        const SharedBytes& payload = piece.contributions[piece.summed];
        if (payload.empty()) {
            piece.begun = add;
            return;
        }
        if (const Status decoded = part.codec->decode(payload.view(), sum, weight, add); !decoded.ok())
            return fail(plan_.members[piece.summed].id, "its contribution: " + decoded.error().message);
    }
    check_sum(index);
}

void AllReduce::check_sum(std::uint32_t index) {
    Piece& piece = pieces_[index];
    const AveragePart& part = parts_[piece.part];
    const std::span<float> mean = result_.span().subspan(piece.offset, piece.count);
    const double limit = context_.options.norm_ratio_max * norm_;
    // One pass over the sum; only if it is too large, each contribution is decoded again to find whose.
    if (norm_ > 0 &&
        std::sqrt(kernels::sum_of_squares(mean.data(), mean.size())) * double(peers_.size()) > limit) {
        for (std::size_t m = 0; m < peers_.size(); ++m) {
            if (m == me_ || scale(m) == 0 ||
                !part.codec->decode(piece.contributions[m].view(), mean, 1, false).ok())
                continue;
            const double norm = std::sqrt(kernels::sum_of_squares(mean.data(), mean.size()));
            if (norm > limit) {
                return fail(plan_.members[m].id, fmt::format("norm {:.3g} of its contribution is more than "
                                                             "{:g} times ours, {:.3g}",
                                                             norm, context_.options.norm_ratio_max, norm_));
            }
        }
        // None of them alone: sum again what was overwritten.
        std::ranges::fill(mean, 0.0F);
        for (std::size_t m = 0; m < peers_.size(); ++m) {
            if (scale(m) == 0) continue;
            if (m == me_) {
                add_own(part, piece.begin, scale(m), true, mean);
            } else {
                (void)part.codec->decode(piece.contributions[m].view(), mean, scale(m), true);
            }
        }
    }
    if (step_ == nullptr) return publish(index);
    if (--unsummed_ == 0) all_summed();
}

void AllReduce::publish(std::uint32_t index) {
    Piece& piece = pieces_[index];
    const AveragePart& part = parts_[piece.part];
    const std::span<float> mean = result_.span().subspan(piece.offset, piece.count);
    std::span<float> lost = {};
    if (!residual_of(part).empty()) {
        lost = residual_.span().subspan(piece.offset, piece.count);
        std::ranges::fill(lost, 0.0F);
    }
    const Codec& codec = step_ == nullptr ? *part.codec : step_->outcome_codec();
    const std::size_t room = codec.encoded_bytes(piece.count);
    const std::shared_ptr<std::byte[]> buffer = std::make_shared_for_overwrite<std::byte[]>(room);
    const CodecSeed seed =
        codec_seed(context_.options.seed, context_.host.self(), round_, 2 * attempt_ + 1, index);
    // The outcome of a step is no sum: what its codec loses, nobody can make good.
    const std::span<float> residual = step_ == nullptr ? lost : std::span<float>{};
    const std::size_t written = codec.encode(mean, residual, {buffer.get(), room}, mean, seed);
    // Lost from the mean: as if each member's contribution had lost as much, and we make it good alone.
    for (float& value : lost) value *= static_cast<float>(peers_.size());
    piece.encoded = {buffer, ByteView(buffer.get(), written)};
    piece.contributions.clear();
    for (std::size_t step = 1; step < peers_.size(); ++step)
        outgoing_.push_back({(me_ + step) % peers_.size(), index, true});
    completed(index, piece.encoded.view());
}

void AllReduce::take_result(std::uint32_t index, const SharedBytes& payload) {
    const Piece& piece = pieces_[index];
    const std::span<float> result = result_.span().subspan(piece.offset, piece.count);
    const PeerId owner = plan_.members[piece.owner].id;
    const Codec& codec = step_ == nullptr ? *parts_[piece.part].codec : step_->outcome_codec();
    if (const Status decoded = codec.decode(payload.view(), result, 1, false); !decoded.ok())
        return fail(owner, "its result: " + decoded.error().message);
    const double norm = std::sqrt(kernels::sum_of_squares(result.data(), result.size()));
    const double ours = step_ == nullptr ? norm_ : step_->outcome_norm();
    if (ours > 0 && norm > context_.options.norm_ratio_max * ours) {
        return fail(owner, fmt::format("norm {:.3g} of its result is more than {:g} times ours, {:.3g}", norm,
                                       context_.options.norm_ratio_max, ours));
    }
    completed(index, payload.view());
}

void AllReduce::completed(std::uint32_t index, ByteView payload) {
    pieces_[index].hash = kernels::tree_hash(payload);
    pieces_[index].complete = true;
    if (--incomplete_ == 0) decide();
}

}  // namespace Atoll::gossip
