// Learners that never wait, and syncers: the common part of asynchronous and decoupled DiLoCo.
//
// The vector is cut into fragments (federation/fragments.h). Member p mod n of the view is the syncer of
// fragment p: it holds Theta_p and makes its outer steps. Everyone is a learner: it takes inner steps, sends
// each fragment's change to the syncer of the fragment, and goes on; what comes is handled between two inner
// steps.
//
//   a fragment is due:       Delta_p = base_p - theta_p;  base_p <- theta_p;  send Delta_p to its syncer
//   a newer Theta_p comes:   theta_p <- Theta_p - (base_p - theta_p);  base_p <- Theta_p
//
// so what a learner has done since it last sent stays in its replica and goes into its next Delta_p: nothing
// is lost or counted twice, however long the answer takes.
//
// On the wire these are shares (gossip::MixShare):
//   stage 2p:      Delta_p, through the codec, with the learner's weight. Sent again until a receipt comes;
//                  taken once.
//   stage 2p + 1:  Theta_p in fp32 as of version `round`; versions rise and the newest wins, so that it needs
//   no
//                  receipt. sequence 1, or 2 if the run is over for this fragment. Without parts: the version
//                  is told, not sent. sequence 0: a question, by a member that has finished.
//
// A syncer that is away is followed by the next member in order, which goes on from its own copy of Theta_p;
// the outer momentum begins anew. Away is who has left the view, who came into it and has not been heard of
// yet (it may still be fetching the state), and who has not answered for averaging.deadline_seconds. Whoever
// is the first in order for a fragment says once a round that it is there.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "federation/algorithm/algorithm.h"
#include "federation/algorithm/deliveries.h"
#include "federation/algorithm/residuals.h"
#include "federation/fragments.h"
#include "federation/run_config.h"
#include "kernels/flat.h"

namespace Atoll::federation {

// Invariant between any two inner steps, as Diloco's: worker.step() = round() * H + inner steps done in this
// round.
class SyncerTraining : public Algorithm {
  public:
    SyncerTraining(const RunConfig& config, std::size_t parameters);

    [[nodiscard]] Status run(Context& context) override;
    [[nodiscard]] std::uint64_t round() const override { return round_; }
    [[nodiscard]] std::uint64_t rounds() const override { return static_cast<std::uint64_t>(run_.rounds); }
    void set_round(std::uint64_t round) override { round_ = round; }
    // "anchor" (Theta) and "versions" (shared); "base", "since" and "residual.0" (own).
    [[nodiscard]] std::vector<StateVector> state() override;
    [[nodiscard]] bool reserve(std::string_view name) override;
    void adopted(Worker& worker) override;

  protected:
    struct Contribution {
        std::size_t fragment = 0;
        gossip::PeerId from;
        double weight = 1;
        // Delta, of the whole vector's length: only the fragment's ranges are meant.
        std::span<const float> delta;
    };

    // ---- what an algorithm adds ----

    // Inner steps of a round after which the fragment is due; rises with the fragment, 1 to H.
    [[nodiscard]] virtual std::uint64_t due(std::size_t fragment) const = 0;
    // Weight of the change that this learner sends: `steps` inner steps of `tokens` tokens each.
    [[nodiscard]] virtual double weight(double steps, double tokens) const = 0;
    // Here is the syncer: a learner's change has come.
    virtual void contributed(Context& context, const Contribution& contribution) = 0;
    // The fragment's Theta is another syncer's now: momentum and whatever was collected are void.
    virtual void forget(std::size_t fragment) = 0;
    // Between two inner steps: does what is due. `closing`: nobody will contribute any more, or the node
    // stops.
    virtual void tick(Context& /*context*/, bool /*closing*/) {}
    // What has been collected and is not in Theta yet.
    [[nodiscard]] virtual bool collecting(std::size_t /*fragment*/) const { return false; }
    // A round has ended. (Asynchronous DiLoCo measures its speed.)
    virtual void round_done(const RoundReport& /*report*/) {}
    // Told with every Theta: a number that the syncer sends along, and that a learner gets.
    [[nodiscard]] virtual double remark() const { return 0; }
    virtual void heard(double /*remark*/) {}

    // ---- what it may use ----

    [[nodiscard]] std::span<float> anchor(const FragmentRange& range) {
        return anchor_.span().subspan(range.offset, range.size);
    }
    [[nodiscard]] const Fragment& fragment(std::size_t index) const { return fragments_[index]; }
    [[nodiscard]] std::size_t fragments() const { return versions_.size(); }
    // The syncer has changed its Theta_p: a new version, which the learner here goes on from.
    void advance(Context& context, std::size_t fragment);
    void send_anchor(Context& context, std::size_t fragment, const std::vector<gossip::PeerId>& to);
    [[nodiscard]] static const gossip::View& view(const Context& context) { return context.inbox.view(); }
    // Those of the view that take part, this member included.
    [[nodiscard]] std::vector<gossip::PeerId> present(const Context& context) const;
    void note(std::string reason);

  private:
    // MixShare::sequence of a Theta, or of what is told or asked about its version.
    static constexpr std::uint64_t kQuestion = 0;
    static constexpr std::uint64_t kAnswer = 1;
    static constexpr std::uint64_t kLastAnswer = 2;
    static std::size_t fragment_of(const gossip::MixShare& share) { return share.stage / 2; }

    [[nodiscard]] Status begin(Context& context);
    [[nodiscard]] Status learn(Context& context, RoundReport& report);
    [[nodiscard]] Status push(Context& context, std::size_t fragment);
    [[nodiscard]] SharedBytes encode(Context& context, std::size_t fragment, gossip::MixShare& share);
    void finish(Context& context);
    [[nodiscard]] bool over(const Context& context) const;
    void take_back(Context& context);
    void fill_in(const Context& context, RoundReport& report);

    void serve(Context& context);
    void follow_view(Context& context);
    void announce(Context& context);
    void handle(Context& context, const gossip::Message& message);
    void on_delta(Context& context, const gossip::Message& message, const gossip::MixShare& share);
    void on_question(Context& context, const gossip::PeerId& from, const gossip::MixShare& share);
    void on_anchor(Context& context, const gossip::Message& message, const gossip::MixShare& share);
    // Its values into received_. Errors: why they are not acceptable.
    [[nodiscard]] Status decode(const gossip::MixShare& share, const SharedBytes& payload,
                                const gossip::Codec& codec, double norm_max);
    void tell_version(Context& context, std::size_t fragment, const gossip::PeerId& to,
                      std::uint64_t sequence);
    void go_on_from_anchor(Worker& worker, std::size_t fragment);
    void restart_from_anchor(Worker& worker);

    [[nodiscard]] gossip::PeerId syncer(const Context& context, std::size_t fragment) const;
    [[nodiscard]] bool leads(const Context& context, std::size_t fragment) const;
    // Every member has finished, and all they sent is in Theta.
    [[nodiscard]] bool closed(const Context& context, std::size_t fragment) const;
    [[nodiscard]] bool all_finished(const Context& context) const;
    [[nodiscard]] std::uint64_t version(std::size_t fragment) const {
        return static_cast<std::uint64_t>(versions_[fragment]);
    }
    [[nodiscard]] double norm_of(kernels::FlatBuffer& vector, std::size_t fragment) const;

    RunConfig::Run run_;
    RunConfig::AlgorithmTable options_;
    double deadline_seconds_;
    double resend_seconds_;
    double norm_ratio_max_;
    std::vector<Fragment> fragments_;
    std::unique_ptr<gossip::Codec> exact_;  // of Theta
    std::uint64_t round_ = 0;
    kernels::FlatBuffer anchor_;    // Theta, as far as it is known here
    kernels::FlatBuffer base_;      // what this learner's changes are counted from
    kernels::FlatBuffer delta_;     // being sent
    kernels::FlatBuffer received_;  // being judged
    std::vector<float> versions_;   // of Theta_p; floats, as everything in a checkpoint (exact to 2^24)
    std::vector<float> since_;      // inner steps since the fragment was last sent; last: tokens of a step
    Residuals residuals_;

    std::optional<Deliveries> deliveries_;  // of Deltas
    bool begun_ = false;                    // something was sent: who comes now has to say so
    std::set<gossip::PeerId> members_;      // of the view when it was last looked at
    std::set<gossip::PeerId> away_;         // of them
    std::vector<double> norms_;  // of what was last sent of each fragment: what is absurd follows from it
    double heaviest_ = 0;        // of the own weights
    std::set<gossip::PeerId> finished_;
    std::map<std::size_t, std::set<gossip::PeerId>>
        current_;                  // finished, and have the fragment's last version
    std::set<std::size_t> final_;  // fragments of others that are over
    double heard_ = 0;             // when anything last came
    gossip::AverageReport notes_;  // of the present round
};

// Errors (invalid): more fragments than layers or inner steps, an averaging or topology that nobody would
// use.
[[nodiscard]] Status check_syncer_training(const RunConfig& config);

}  // namespace Atoll::federation
