// An algorithm: when replicas talk and what they do with the answer, written as blocking code that reads like
// its paper's pseudo-code over Worker, Averaging and Host.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/stop.h"
#include "federation/worker.h"
#include "gossip/averaging/averaging.h"
#include "gossip/codec/codec.h"
#include "gossip/host.h"
#include "gossip/inbox.h"

namespace Atoll::federation {

struct RunConfig;  // federation/run_config.h

// A vector of an algorithm's state.
struct StateVector {
    std::string name;
    std::span<float> values;
    bool shared =
        false;  // part of what a joiner fetches from a peer; else only in this node's own checkpoint
};

struct RoundReport {
    std::uint64_t round = 0;  // outer steps done, this one included
    std::uint64_t step = 0;
    std::uint64_t steps = 0;      // inner steps by this node in this round
    std::uint64_t tokens = 0;     // by this node in this round
    double train_loss = 0;        // mean over the round's inner steps
    double update_norm = 0;       // of the averaged pseudo-gradient
    double compute_seconds = 0;   // host time
    double exchange_seconds = 0;  // during which no inner step was taken
    gossip::AverageReport average;
};

class Algorithm;

// Told at the safe points of a run, on the algorithm's own activity. An error stops the run with it.
class Observer {
  public:
    virtual ~Observer() = default;
    virtual Status on_step(const StepResult& result, std::uint64_t step) = 0;
    // Everything is consistent here: the place to checkpoint and to evaluate.
    virtual Status on_round(const RoundReport& report, Algorithm& algorithm) = 0;
    // Others are about to be told something that holds only as long as it is not forgotten: what the worker
    // and the algorithm hold now must survive a crash once this returns.
    virtual Status persist(Algorithm& algorithm) = 0;
};

struct Context {
    Worker& worker;
    gossip::Host& host;
    gossip::Inbox& inbox;
    gossip::Averaging& averaging;
    Observer& observer;
    const StopToken& stop;
    const gossip::Codec& codec;  // of pseudo-gradients
    std::uint64_t seed = 0;      // of the choices that members need not agree on
    std::uint64_t tokens = 0;    // by this node since it was started
    bool late = false;           // the run may have begun without this member
    bool leaving = false;        // it is here to leave the run for good (a federated client)
};

class Algorithm {
  public:
    virtual ~Algorithm() = default;
    // Runs until the configured rounds are done, `stop` is requested (interrupted, after the current step) or
    // an error.
    [[nodiscard]] virtual Status run(Context& context) = 0;
    // Outer steps done, and how many there are in the run.
    [[nodiscard]] virtual std::uint64_t round() const = 0;
    [[nodiscard]] virtual std::uint64_t rounds() const = 0;
    virtual void set_round(std::uint64_t round) = 0;
    // All state beyond the worker's, for checkpoints and joiners; spans stay valid as long as the object.
    [[nodiscard]] virtual std::vector<StateVector> state() = 0;
    // Makes room, before a checkpoint is read, for a vector of state() that comes and goes with the number of
    // members. False: the algorithm has no vector of that name.
    [[nodiscard]] virtual bool reserve(std::string_view name) = 0;
    // The round and the shared vectors of state() are newly a peer's: brings the worker and the rest in line
    // with them.
    virtual void adopted(Worker& worker) = 0;
};

struct AlgorithmEntry {
    std::string_view name;
    std::string_view summary;
    std::string_view source;
    // `parameters`: length of the flat vector.
    std::unique_ptr<Algorithm> (*make)(const RunConfig& config, std::size_t parameters);
    // Gossip exchanges a round where averaging.stages is 0; 0: as many as the topology takes to the mean.
    std::int64_t stages = 0;
    // Cross-field checks of what the algorithm asks of the other tables; null: nothing.
    Status (*check)(const RunConfig& config) = nullptr;
    // Members go through the rounds together: with equal data each does what one would do alone. Else they
    // never wait for each other, and what comes of it depends on who is how fast.
    bool synchronous = true;
    // Faults that the final loss suffers from (by more than 3 % at a third of all messages lost and a fifth
    // of the members restarted every ten rounds), in words, said when a run starts; empty: none of these.
    std::string_view cannot_bear = {};
    // The settings of its paper, in any table but run, model and data: the configuration starts from them
    // when it is chosen. Null: those of RunConfig.
    void (*defaults)(RunConfig& config) = nullptr;
    // One member serves, the others are its clients (federation/federated): needs averaging star.
    bool served = false;
    // Takes the inner optimizer's steps itself: the worker needs no optimizer.
    bool steps_itself = false;
};

[[nodiscard]] std::span<const AlgorithmEntry> algorithms();
[[nodiscard]] Result<std::unique_ptr<Algorithm>> make_algorithm(std::string_view name,
                                                                const RunConfig& config,
                                                                std::size_t parameters);

}  // namespace Atoll::federation
