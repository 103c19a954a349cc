#include "federation/state_server.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include "base/log.h"

namespace Atoll::federation {

namespace {

class StateServer {
  public:
    StateServer(gossip::Host& host, const StateServerLimits& limits) : host_(host), limits_(limits) {}

    void run() {
        while (!host_.stopping()) {
            const auto message = host_.receive(gossip::Topic::state, host_.now() + limits_.idle_seconds);
            forget_idle();
            if (!message) continue;
            if (const auto* published = std::get_if<gossip::StatePublished>(&message->body)) {
                if (message->sender == host_.self()) publish(published->round, message->payload);
            } else if (const auto* request = std::get_if<gossip::StateRequest>(&message->body)) {
                answer(message->sender, *request);
            }
        }
    }

  private:
    struct Snapshot {
        std::uint64_t round = 0;
        SharedBytes bytes;
        // Computed when first asked for: most states are never fetched.
        Bytes chunk_hashes;
        Hash hash{};
    };
    struct Download {
        std::uint64_t round = 0;
        double last_request = 0;
        bool begun = false;  // else offered: the peer has the manifest and may ask for its chunks
    };

    void publish(std::uint64_t round, SharedBytes bytes) {
        std::erase_if(snapshots_, [&](const Snapshot& snapshot) { return snapshot.round == round; });
        snapshots_.push_back({round, std::move(bytes), {}, {}});
        drop_unused();
    }

    void forget_idle() {
        std::erase_if(downloads_, [&](const auto& entry) {
            return host_.now() - entry.second.last_request > limits_.idle_seconds;
        });
        drop_unused();
    }

    void drop_unused() {
        if (snapshots_.empty()) return;
        const std::uint64_t newest = snapshots_.back().round;
        std::erase_if(snapshots_, [&](const Snapshot& snapshot) {
            return snapshot.round != newest && std::ranges::none_of(downloads_, [&](const auto& entry) {
                       return entry.second.round == snapshot.round;
                   });
        });
    }

    [[nodiscard]] std::size_t under_way() const {
        return static_cast<std::size_t>(
            std::ranges::count_if(downloads_, [](const auto& entry) { return entry.second.begun; }));
    }

    // What a manifest speaks of must be there when its chunks are asked for, however soon a newer state
    // comes; but of many who only ask, few are waited for.
    void offer(const gossip::PeerId& peer, std::uint64_t round) {
        const auto [download, newly] = downloads_.try_emplace(peer);
        if (!newly && download->second.begun && download->second.round == round) return;
        download->second = {round, host_.now(), false};
        if (downloads_.size() - under_way() <= limits_.downloads_max) return;
        auto oldest = downloads_.end();
        for (auto it = downloads_.begin(); it != downloads_.end(); ++it) {
            if (it->second.begun) continue;
            if (oldest == downloads_.end() || it->second.last_request < oldest->second.last_request)
                oldest = it;
        }
        downloads_.erase(oldest);
    }

    void answer(const gossip::PeerId& peer, const gossip::StateRequest& request) {
        if (snapshots_.empty()) return refuse(peer, request.round, "no state yet");
        if (request.manifest) {
            offer(peer, snapshots_.back().round);
            return send_manifest(peer, snapshots_.back());
        }
        const auto it = std::ranges::find(snapshots_, request.round, &Snapshot::round);
        if (it == snapshots_.end()) {
            return refuse(
                peer, request.round,
                fmt::format("round {} is gone, newest is {}", request.round, snapshots_.back().round));
        }
        const auto download = downloads_.find(peer);
        const bool begun = download != downloads_.end() && download->second.begun;
        if (!begun && under_way() >= limits_.downloads_max) {
            return refuse(peer, request.round, fmt::format("busy: {} downloads under way", under_way()));
        }
        downloads_[peer] = {request.round, host_.now(), true};
        send_chunk(peer, *it, request.index);
    }

    void send_manifest(const gossip::PeerId& peer, Snapshot& snapshot) {
        if (snapshot.chunk_hashes.empty()) hash(snapshot);
        reply(peer,
              gossip::StateManifest{snapshot.round, snapshot.bytes.size(), kStateChunkBytes, snapshot.hash},
              SharedBytes(snapshot.chunk_hashes));
    }

    void send_chunk(const gossip::PeerId& peer, const Snapshot& snapshot, std::uint32_t index) {
        const std::size_t offset = std::size_t{index} * kStateChunkBytes;
        if (offset >= snapshot.bytes.size())
            return refuse(peer, snapshot.round, fmt::format("no chunk {}", index));
        const std::size_t count = std::min<std::size_t>(kStateChunkBytes, snapshot.bytes.size() - offset);
        reply(peer, gossip::StateChunk{snapshot.round, index}, snapshot.bytes.slice(offset, count));
    }

    void refuse(const gossip::PeerId& peer, std::uint64_t round, const std::string& reason) {
        reply(peer, gossip::StateRefusal{round, reason}, {});
    }

    void reply(const gossip::PeerId& peer, gossip::Body body, SharedBytes payload) {
        // A reply that is lost is asked for again.
        const Status sent = host_.send(peer, std::move(body), std::move(payload));
        if (!sent) log::debug("state for {}: {}", peer.short_name(), sent.error().message);
    }

    static void hash(Snapshot& snapshot) {
        snapshot.hash = blake2b(snapshot.bytes.view());
        for (std::size_t offset = 0; offset < snapshot.bytes.size(); offset += kStateChunkBytes) {
            const std::size_t count = std::min<std::size_t>(kStateChunkBytes, snapshot.bytes.size() - offset);
            const Hash chunk = blake2b(snapshot.bytes.view().subspan(offset, count));
            snapshot.chunk_hashes.insert(snapshot.chunk_hashes.end(), chunk.begin(), chunk.end());
        }
    }

    gossip::Host& host_;
    StateServerLimits limits_;
    std::vector<Snapshot> snapshots_;  // in order of publication
    std::map<gossip::PeerId, Download> downloads_;
};

}  // namespace

void serve_state(gossip::Host& host, const StateServerLimits& limits) { StateServer(host, limits).run(); }

}  // namespace Atoll::federation
