// The simulated world: nodes as SimGrid hosts on links with bandwidth and latency, in virtual time. Each
// node's code runs as actors that see it through gossip::Host, so the code of gossip/ and federation/ runs
// here unchanged. Deterministic: the same scenario gives the same trace.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/hash.h"
#include "gossip/host.h"
#include "sims/scenario.h"

namespace Atoll::sims {

class Simulation {
  public:
    // What a node does from each of its starts (incarnation 0, 1, ...) until it returns or is switched off.
    using Program = std::function<void(std::size_t node, std::uint64_t incarnation, gossip::Host& host)>;
    // Told (on no particular node) right after a node was switched.
    using FaultListener = std::function<void(const Fault& fault, double seconds)>;

    struct Options {
        double loss = 0;
        std::uint64_t seed = 0;
        // Payload bytes on the simulated wire per real byte: lets a small vector stand for a large one
        // (--timing-only).
        double payload_scale = 1;
        std::size_t stack_bytes = std::size_t{1} << 20U;
        double seconds_max = 1e7;
        std::vector<gossip::PeerId> peers;  // who the nodes are; empty: drawn from the seed
    };

    // One Simulation a process: SimGrid's engine is a singleton.
    Simulation(const Scenario& scenario, const Options& options);
    ~Simulation();
    Simulation(const Simulation&) = delete;
    Simulation& operator=(const Simulation&) = delete;

    [[nodiscard]] std::vector<gossip::PeerId> peers() const;
    // Sends to a node's own mailbox from outside, at once: how an oracle tells a node its view.
    void post(std::size_t node, gossip::Body body);
    [[nodiscard]] bool is_on(std::size_t node) const;

    // Runs `body` once at virtual time `seconds`, outside all nodes; does not keep the simulation alive. Also
    // from within a run.
    void at(double seconds, std::function<void()> body);
    // Runs everything until every program has returned (or its node stays off). Returns the virtual time of
    // the end.
    double run(Program program, FaultListener listener);

    struct Totals {
        std::vector<gossip::Host::Traffic> traffic;  // one a node, over all its incarnations
        std::uint64_t messages_delivered = 0;
        std::uint64_t messages_lost = 0;
        Hash trace{};  // of every delivery: (time, from, to, kind, bytes)
    };
    [[nodiscard]] Totals totals() const;

    struct World;

  private:
    std::unique_ptr<World> world_;
};

// Ends a host's activities: receive() and sleep() return at once from now on. For the end of a node's
// program.
void stop(gossip::Host& host);

}  // namespace Atoll::sims
