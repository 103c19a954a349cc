#include "federation/state_fetch.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <set>
#include <span>

#include "base/hash.h"
#include "base/log.h"
#include "base/rng.h"

namespace Atoll::federation {

namespace {

// Bounds what a manifest can make us allocate: 32 bytes for each of the chunks, which are this large but for
// the last.
constexpr std::uint32_t kChunkBytesMin = 1U << 16U;
constexpr std::uint32_t kChunkBytesMax = 1U << 24U;
constexpr double kPauseSeconds = 1;
constexpr int kPasses = 3;  // over the peers, as a busy one may be free the next time

struct Offer {
    gossip::PeerId peer;
    gossip::StateManifest manifest;
    std::vector<Hash> chunks;
};

class StateFetch {
  public:
    StateFetch(gossip::Host& host, const StateFetchOptions& options) : host_(host), options_(options) {}

    Result<std::optional<FetchedState>> run(std::vector<gossip::PeerId> peers) {
        shuffle(peers);
        if (peers.size() > options_.peers_max) peers.resize(options_.peers_max);
        for (int pass = 0; pass < kPasses; ++pass) {
            if (pass > 0) host_.sleep(kPauseSeconds);
            for (std::size_t begin = 0; begin < peers.size(); begin += options_.asked_at_once) {
                const std::size_t count = std::min(options_.asked_at_once, peers.size() - begin);
                for (const Offer& offer : offers(std::span(peers).subspan(begin, count))) {
                    if (download(offer)) {
                        return std::optional(
                            FetchedState{offer.manifest.round, std::move(bytes_), offer.peer});
                    }
                    if (host_.stopping()) break;
                }
                if (host_.stopping()) {
                    return Error{ErrorCode::interrupted, "stopped while fetching a peer's state"};
                }
            }
            if (reasons_.empty()) break;
        }
        if (!reasons_.empty()) {
            return Error{ErrorCode::unavailable,
                         fmt::format("no peer's state could be fetched: {}", fmt::join(reasons_, "; "))};
        }
        if (answers_ == 0 && !peers.empty()) {
            return Error{ErrorCode::not_found,
                         fmt::format("none of {} peers answered a request for its state", peers.size())};
        }
        return std::optional<FetchedState>();
    }

  private:
    void shuffle(std::vector<gossip::PeerId>& peers) const {
        Rng rng = Rng(options_.seed).split("state donors", options_.newer_than);
        for (std::size_t i = peers.size(); i > 1; --i) std::swap(peers[i - 1], peers[rng.below(i)]);
    }

    void give_up(const gossip::PeerId& peer, const std::string& reason) {
        reasons_.push_back(peer.short_name() + ": " + reason);
        log::warn("state from {}: {}", peer.short_name(), reason);
    }

    void distrust(const gossip::PeerId& peer, const std::string& reason) {
        distrusted_.insert(peer);
        give_up(peer, reason);
    }

    // What these peers have that is newer, the newest first.
    std::vector<Offer> offers(std::span<const gossip::PeerId> peers) {
        std::set<gossip::PeerId> waiting;
        for (const auto& peer : peers) {
            if (distrusted_.contains(peer)) continue;
            if (host_.send(peer, gossip::StateRequest{.manifest = true}, {}).ok()) waiting.insert(peer);
        }
        std::vector<Offer> found;
        const double deadline = host_.now() + options_.answer_seconds;
        while (!waiting.empty()) {
            const auto message = host_.receive(gossip::Topic::transfer, deadline);
            if (!message) break;
            if (!waiting.contains(message->sender)) continue;
            ++answers_;
            if (const auto* manifest = std::get_if<gossip::StateManifest>(&message->body)) {
                waiting.erase(message->sender);
                if (manifest->round <= options_.newer_than) continue;
                if (auto offer = read_offer(message->sender, *manifest, message->payload.view())) {
                    found.push_back(std::move(*offer));
                }
            } else if (std::holds_alternative<gossip::StateRefusal>(message->body)) {
                waiting.erase(message->sender);
            }
        }
        std::ranges::stable_sort(found, std::greater{},
                                 [](const Offer& offer) { return offer.manifest.round; });
        return found;
    }

    std::optional<Offer> read_offer(const gossip::PeerId& peer, const gossip::StateManifest& manifest,
                                    ByteView hashes) {
        if (manifest.round > options_.round_max) {
            distrust(peer,
                     fmt::format("claims round {}; the run has {}", manifest.round, options_.round_max));
            return std::nullopt;
        }
        if (manifest.bytes != options_.bytes) {
            distrust(peer,
                     fmt::format("its state has {} bytes; expected {}", manifest.bytes, options_.bytes));
            return std::nullopt;
        }
        const std::uint64_t chunk = manifest.chunk_bytes;
        if (chunk < kChunkBytesMin || chunk > kChunkBytesMax ||
            hashes.size() != (manifest.bytes + chunk - 1) / chunk * sizeof(Hash)) {
            distrust(peer, fmt::format("malformed manifest: chunks of {} bytes, {} bytes of hashes", chunk,
                                       hashes.size()));
            return std::nullopt;
        }
        Offer offer{peer, manifest, std::vector<Hash>(hashes.size() / sizeof(Hash))};
        std::memcpy(offer.chunks.data(), hashes.data(), hashes.size());
        return offer;
    }

    // Chunks that an earlier donor sent stay if the new one's have the same hashes.
    void prepare(const Offer& offer) {
        if (bytes_.size() != offer.manifest.bytes || chunk_bytes_ != offer.manifest.chunk_bytes) {
            bytes_.assign(offer.manifest.bytes, std::byte{0});
            have_.assign(offer.chunks.size(), std::nullopt);
            chunk_bytes_ = offer.manifest.chunk_bytes;
        }
        missing_.clear();
        for (std::uint32_t i = 0; i < offer.chunks.size(); ++i) {
            if (have_[i] != offer.chunks[i]) missing_.push_back(i);
        }
    }

    bool download(const Offer& offer) {
        prepare(offer);
        log::info("fetching the state of round {} from {}: {} of {} chunks", offer.manifest.round,
                  offer.peer.short_name(), missing_.size(), offer.chunks.size());
        std::set<std::uint32_t> on_the_way;
        while (!missing_.empty() || !on_the_way.empty()) {
            while (!missing_.empty() && on_the_way.size() < options_.window) {
                const std::uint32_t index = missing_.front();
                const Status sent = ask_for(offer, index);
                if (!sent) return give_up(offer.peer, sent.error().message), false;
                missing_.pop_front();
                on_the_way.insert(index);
            }
            if (!receive_chunk(offer, on_the_way)) return false;
        }
        if (blake2b(bytes_) == offer.manifest.hash) return true;
        have_.assign(have_.size(), std::nullopt);
        distrust(offer.peer, "its chunks do not add up to the state it announced");
        return false;
    }

    Status ask_for(const Offer& offer, std::uint32_t index) {
        return host_.send(
            offer.peer,
            gossip::StateRequest{.manifest = false, .round = offer.manifest.round, .index = index}, {});
    }

    // The next chunk of those on the way; false if the donor is given up.
    bool receive_chunk(const Offer& offer, std::set<std::uint32_t>& on_the_way) {
        const double deadline = host_.now() + options_.stall_seconds;
        while (host_.now() < deadline && !host_.stopping()) {
            const auto message = host_.receive(gossip::Topic::transfer,
                                               std::min(deadline, host_.now() + options_.answer_seconds));
            if (!message) {  // a request or its answer was lost
                for (const std::uint32_t index : on_the_way) (void)ask_for(offer, index);
                continue;
            }
            if (message->sender != offer.peer) continue;
            if (const auto* refusal = std::get_if<gossip::StateRefusal>(&message->body)) {
                if (refusal->round != offer.manifest.round) continue;
                give_up(offer.peer, "refused: " + refusal->reason.substr(0, 200));
                return false;
            }
            const auto* chunk = std::get_if<gossip::StateChunk>(&message->body);
            if (chunk == nullptr || chunk->round != offer.manifest.round ||
                !on_the_way.contains(chunk->index))
                continue;
            if (!keep(offer, chunk->index, message->payload.view())) {
                distrust(offer.peer, fmt::format("chunk {} is not what it announced", chunk->index));
                return false;
            }
            on_the_way.erase(chunk->index);
            return true;
        }
        if (!host_.stopping())
            give_up(offer.peer, fmt::format("nothing came for {} s", options_.stall_seconds));
        return false;
    }

    bool keep(const Offer& offer, std::uint32_t index, ByteView chunk) {
        const std::size_t offset = std::size_t{index} * chunk_bytes_;
        const std::size_t size = std::min<std::size_t>(chunk_bytes_, bytes_.size() - offset);
        if (chunk.size() != size || blake2b(chunk) != offer.chunks[index]) return false;
        std::memcpy(bytes_.data() + offset, chunk.data(), size);
        have_[index] = offer.chunks[index];
        return true;
    }

    gossip::Host& host_;
    const StateFetchOptions& options_;
    std::set<gossip::PeerId> distrusted_;  // sent something that is not what it announced: not asked again
    std::vector<std::string> reasons_;
    std::size_t answers_ = 0;
    Bytes bytes_;
    std::uint32_t chunk_bytes_ = 0;
    std::vector<std::optional<Hash>> have_;  // of the chunks in bytes_
    std::deque<std::uint32_t> missing_;
};

}  // namespace

Result<std::optional<FetchedState>> fetch_state(gossip::Host& host, std::vector<gossip::PeerId> peers,
                                                const StateFetchOptions& options) {
    return StateFetch(host, options).run(std::move(peers));
}

}  // namespace Atoll::federation
