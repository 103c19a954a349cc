// What a running node tells about itself: one value, written by the algorithm and by membership, read by the
// pages.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "gossip/membership.h"

namespace Atoll::node {

struct NodeState {
    static constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

    std::string peer, fingerprint, name, run, run_name, address, folder;
    std::string phase = "starting";  // starting, waiting, training, finishing, done
    std::uint64_t round = 0, rounds = 0, step = 0, steps = 0, parameters = 0;
    std::uint64_t tokens = 0;      // by this node, over restarts
    double tokens_per_second = 0;  // while computing
    double train_loss = kNone, val_loss = kNone, learning_rate = kNone, gradient_norm = kNone;
    double compute_seconds = 0, exchange_seconds = 0;                     // of the last round
    std::uint64_t bytes_sent = 0, bytes_received = 0, messages_lost = 0;  // over restarts
    std::uint64_t bytes_data_parallel = 0;  // what synchronous data-parallel training would have sent by now
    std::uint64_t rounds_incomplete = 0;
    std::string incomplete_reason;  // of the last incomplete round
    double energy_joules = 0, carbon_grams = 0;
    std::string energy_source;
    std::uint64_t view_epoch = 0, view_size = 1;
    std::string view_reason;
    std::vector<gossip::MemberStatus> members;
    std::map<std::string, std::uint64_t> refusals;
    double unix_time = 0, uptime_seconds = 0;
};

// Thread-safe.
class NodeBoard {
  public:
    [[nodiscard]] NodeState read() const {
        const std::lock_guard lock(mutex_);
        return state_;
    }
    template <typename Change>
    void change(const Change& change) {
        const std::lock_guard lock(mutex_);
        change(state_);
    }

  private:
    mutable std::mutex mutex_;  // guards state_
    NodeState state_;
};

// The object of GET /api/state (docs/reference/http.md). Numbers that are not known are null.
[[nodiscard]] std::string state_json(const NodeState& state);
// The text of GET /metrics.
[[nodiscard]] std::string metrics_text(const NodeState& state);

}  // namespace Atoll::node
