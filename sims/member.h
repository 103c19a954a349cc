// One simulated member: its replica, what it keeps over restarts, and its program on a Host.
#pragma once

#include <memory>
#include <vector>

#include "base/chrome_trace.h"
#include "federation/session.h"
#include "federation/worker.h"
#include "gossip/identity.h"
#include "gossip/run_membership.h"
#include "kernels/ops.h"
#include "sims/scenario.h"

namespace Atoll::sims {

// What all members of a simulation share.
struct World {
    const Scenario& scenario;
    kernels::Ops& ops;
    std::string data;   // folder of token shards; empty with toy workers
    bool toys = false;  // quadratic workers
    gossip::Authority authority;
    std::vector<gossip::Certificate> certificates;  // one a node; empty with an oracle
    std::vector<Bytes> records;  // of the same nodes, as they would learn them when joining
    std::vector<gossip::PeerId> peers;
    ChromeTrace* trace = nullptr;  // nullptr: nothing is traced
};

// The record by which the others know a node before its first heartbeat.
[[nodiscard]] Bytes record_of(const gossip::Identity& identity, const gossip::Certificate& certificate,
                              std::size_t node);

// Told after every outer step of any member.
using RoundListener =
    std::function<void(std::size_t node, const federation::RoundReport& report, double seconds)>;

struct MemberResult {
    std::uint64_t rounds = 0;
    std::uint64_t steps = 0;
    std::uint64_t tokens = 0;
    std::uint64_t rounds_incomplete = 0;
    double train_loss = 0;      // mean over the last round
    double val_loss_start = 0;  // of the initial parameters
    double val_loss = 0;
    Status status;          // how its program ended
    bool finished = false;  // it did end, that is: was not switched off
};

class Member {
  public:
    // `world`, `identity` and `listener` outlive the member.
    Member(const World& world, std::size_t node, const gossip::Identity& identity,
           const RoundListener& listener);
    ~Member();
    Member(const Member&) = delete;
    Member& operator=(const Member&) = delete;

    // The node's program from each of its starts: builds the replica, restores what an earlier incarnation
    // had saved at its last outer step, trains to the end of the run.
    void run(std::uint64_t incarnation, gossip::Host& host);
    [[nodiscard]] const MemberResult& result() const { return result_; }
    // The parameters at the end of the last run(); empty if there was none.
    [[nodiscard]] std::span<const float> parameters() const { return final_parameters_; }

  private:
    class Replica;
    class SavingObserver;
    struct Saved;
    [[nodiscard]] federation::SessionOptions session_options() const;
    [[nodiscard]] Status train(std::uint64_t incarnation, gossip::Host& host);

    const World& world_;
    std::size_t node_;
    const gossip::Identity& identity_;
    const RoundListener& listener_;
    std::unique_ptr<Saved> saved_;  // the member's "disk"
    std::vector<float> final_parameters_;
    MemberResult result_;
};

}  // namespace Atoll::sims
