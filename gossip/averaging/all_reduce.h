// Atomic all-reduce: every member of a group owns a share of the vector, sums what the others contribute to
// it and sends the mean to all (reduce-scatter and all-gather), in pieces, so that reducing, encoding and
// sending overlap. The lowest member of the view coordinates:
//
//   ReduceReady   everyone -> coordinator: here, with its measured bandwidth
//   ReducePlan    coordinator -> group: members in order and their shares. Who was not ready is left out.
//   ReduceChunk   contributions to the owners, summed in the order of the plan; then the mean, encoded once,
//                 to everyone. The owner too takes the decoded bytes, so that all copies are bit-identical.
//   ReduceVote    done(hash of all results) -> coordinator; committed(hash) -> group, once all hashes are
//                 equal; acknowledged. Or failed(culprit): the attempt is repeated without it.
//
// What is lost is asked for again (ReduceRequest): pieces are a function of the input, so nothing needs to be
// kept. Values and residuals of the caller are read only, until the attempt commits.
//
// Guarantee. An attempt commits only if every member of its group has voted for it with the same hash, and
// only its coordinator decides. So all members that finish hold bit-identical results. A member that has
// voted and does not hear the decision is in doubt (two generals: no protocol over a lossy network avoids
// that). It keeps asking, and takes part in another attempt of the same coordinator, or, if that has left the
// view, of the next one, but then only if everyone in the view is there too. Otherwise, at its deadline, it
// reports incomplete with its input as it was, and the layer above adopts the state of the others. This rests
// on the view: a member that is taken for dead, but has committed just before, keeps a result that the others
// do not have.
//
// With a step of the owners (gossip/averaging/owner_step.h; all_reduce_step.cc) three things differ. Shares
// are equal, and stay with their owners as far as the group allows. An owner waits until all its sums are
// there, tells the other owners its part of the total (ReduceTotal), takes the step, and then sends the
// outcome. And the group of the last commit is what is waited for: others in the view say to everybody that
// they are ready, and are taken in as they are; who is behind the newest round contributes and owns nothing
// in it. Being in doubt does no harm here: the next outcome is everybody's again.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "gossip/averaging/averaging.h"
#include "kernels/flat.h"

namespace Atoll::gossip {

class AllReduce : public Averaging {
  public:
    explicit AllReduce(const AveragingContext& context) : context_(context) {}

    [[nodiscard]] std::size_t stages(const Roster& roster) const override { return roster.n < 2 ? 0 : 1; }
    // options.deadline_seconds bounds the whole call, all attempts together.
    [[nodiscard]] Result<AverageReport> average(std::uint64_t round, std::span<AveragePart> parts) override;

  private:
    // Fractions of the deadline of a call.
    static constexpr double kGathering = 0.4;
    static constexpr double kGrace =
        0.05;  // in which a coordinator that has gathered enough can still say so
    static constexpr double kPatience = 0.25;  // with a member from which nothing comes
    static constexpr double kTick = 0.01;      // before the first request for what is missing

    // A run of values of one part, owned by one member.
    struct Piece {
        std::size_t part = 0;
        std::size_t begin = 0;  // in the part
        std::size_t count = 0;
        std::size_t offset = 0;                  // in the result
        std::size_t owner = 0;                   // index in the group
        std::vector<SharedBytes> contributions;  // by member; the owner's only
        std::size_t summed = 0;                  // contributions, in order
        bool begun = false;                      // the first of them is in the result
        SharedBytes encoded;                     // the mean; the owner's only
        bool complete = false;                   // the result is there
        Hash hash{};                             // of the encoded mean
    };
    struct Outgoing {
        std::size_t to = 0;  // index in the group
        std::uint32_t piece = 0;
        bool result = false;
    };
    struct Peer {
        double heard = 0;          // anything of this attempt
        double contributed = 0;    // a contribution
        double ask_at = 0;         // for what is missing, next
        unsigned asked = 0;        // since anything came
        std::optional<Hash> vote;  // at the coordinator
        bool acknowledged = false;
    };
    enum class Phase { gathering, reducing, voted, deciding, finished };

    void begin(std::uint64_t round, std::span<AveragePart> parts);
    void pump();
    void tick();
    void tick_reducing();
    void handle(const Message& message);
    void on_chunk(const PeerId& from, const ReduceChunk& chunk, const SharedBytes& payload);
    void on_request(const PeerId& from, const ReduceRequest& request);
    void on_view_changed();

    // ---- who takes part (all_reduce_group.cc) ----
    void gather(std::uint32_t attempt);
    void consider_plan(bool in_time);
    void propose(std::vector<ReduceMember> members);
    void adopt(const ReducePlan& plan, const PeerId& coordinator);
    void make_pieces(const ReducePlan& plan);
    void add_pieces(std::size_t part, std::size_t begin, std::size_t end, std::size_t owner);
    void on_ready(const PeerId& from, const ReduceReady& ready);
    void on_plan(const PeerId& from, const ReducePlan& plan);
    [[nodiscard]] PeerId coordinator() const;
    [[nodiscard]] bool coordinates() const { return coordinator() == context_.host.self(); }

    // ---- what becomes of a piece (all_reduce_pieces.cc) ----
    // What a member's contribution counts in the mean; 0: it sends none.
    [[nodiscard]] float scale(std::size_t member) const {
        return static_cast<float>(double(plan_.members[member].weight) / double(total_weight_));
    }
    [[nodiscard]] SharedBytes encode_contribution(std::uint32_t index);
    void sum(std::uint32_t index);
    void check_sum(std::uint32_t index);
    void publish(std::uint32_t index);
    void take_result(std::uint32_t index, const SharedBytes& payload);
    void completed(std::uint32_t index, ByteView payload);

    // ---- how it ends (all_reduce_votes.cc) ----
    void on_vote(const PeerId& from, const ReduceVote& vote);
    void decide();
    void commit();
    void fail(const PeerId& culprit, std::string reason);
    [[nodiscard]] ReduceVote vote(ReduceVerdict verdict) const;

    // ---- with a step of the owners (all_reduce_step.cc) ----
    [[nodiscard]] bool awaited(const PeerId& peer) const;
    void forget_what_came();
    void announce();
    [[nodiscard]] ReduceReady own_ready() const;
    void consider_step(bool in_time);
    // "Later": who makes itself ready should not give its coordinator up.
    [[nodiscard]] static ReduceRequest sign_of_life(const ReduceReady& ready) {
        return {ready.round, ready.attempt, false, {}};
    }
    void on_other_round(const PeerId& from, const ReduceReady& ready);
    void follow(const PeerId& from, const ReducePlan& plan);
    [[nodiscard]] bool asks_too_much(const ReducePlan& plan) const;
    void make_shards(const ReducePlan& plan);
    void begin_step();
    void all_summed();
    void on_total(const PeerId& from, const ReduceTotal& total);
    void finish_step();
    void step_alone();

    void say(const PeerId& to, Body body) { (void)context_.host.send(to, std::move(body)); }

    [[nodiscard]] bool current(std::uint64_t round, std::uint32_t attempt) const;
    [[nodiscard]] std::optional<std::size_t> index_of(const PeerId& peer) const;
    void note(std::string reason);

    struct Decision {
        std::uint64_t round = 0;
        std::uint32_t attempt = 0;
        Hash hash{};
    };

    AveragingContext context_;
    std::optional<Decision> committed_;    // the newest
    double bandwidth_ = 0;                 // bytes a second, of earlier rounds
    std::map<PeerId, ReduceReady> early_;  // of the next round
    std::set<PeerId> group_;               // of the last commit; with a step of the owners
    kernels::FlatBuffer result_;
    kernels::FlatBuffer residual_;  // what the residuals become if the attempt commits

    // Of the call in progress.
    std::span<AveragePart> parts_;
    OwnerStep* step_ = nullptr;
    std::uint64_t asked_ = 0;           // the caller's round, which round_ leaves when the others are ahead
    std::vector<std::size_t> offsets_;  // of the parts in result_
    std::uint64_t round_ = 0;
    double norm_ = 0;
    Hash digest_{};
    double end_ = 0;
    double gathering_until_ = 0;
    double next_tick_ = 0;
    Phase phase_ = Phase::finished;
    std::uint32_t attempt_ = 0;
    bool in_doubt_ = false;
    std::map<PeerId, ReduceReady> ready_;
    std::set<PeerId> lost_;  // not waited for any more in this call
    AverageReport report_;

    // Of the attempt.
    PeerId planner_;
    ReducePlan plan_;
    std::size_t me_ = 0;
    std::vector<Peer> peers_;
    std::vector<Piece> pieces_;
    std::uint64_t total_weight_ = 0;
    std::size_t incomplete_ = 0;                 // pieces
    std::size_t unsummed_ = 0;                   // own pieces; with a step of the owners
    bool stepping_ = false;                      // not finished yet
    std::vector<std::optional<double>> totals_;  // by member: their parts of the total
    std::deque<Outgoing> outgoing_;
    SharedBytes next_payload_;  // of outgoing_.front(), if it has been encoded
    double started_ = 0;
    std::uint64_t attempt_bytes_ = 0;
    Hash hash_{};
};

}  // namespace Atoll::gossip
