// A step that the owners of a vector take on its mean before everybody gets the outcome: the update of a
// sharded optimizer, a majority vote. Averaging schemes that have owners (AveragingEntry::owners) carry it
// out.
//
// The vector is cut into kOwnerShards shards, dealt among the members that may own. Members contribute with a
// weight: the mean is sum(weight x values) / sum(weight). What everybody gets replaces the values; it does
// not depend on what they were, so that a member which is behind, or new, is in step again after one exchange
// (then it contributes and owns nothing).
#pragma once

#include <cstdint>
#include <span>

#include "gossip/codec/codec.h"

namespace Atoll::gossip {

class OwnerStep {
  public:
    // A run of values.
    struct Run {
        std::size_t begin = 0;
        std::size_t end = 0;
        friend bool operator==(const Run&, const Run&) = default;
    };

    virtual ~OwnerStep() = default;

    // Of the own contribution, as a number of samples; 0: there is none.
    [[nodiscard]] virtual std::uint32_t weight() const = 0;
    // Whether this member has what a step starts from.
    [[nodiscard]] virtual bool may_own() const = 0;
    // Rounds from this one on do not exist.
    [[nodiscard]] virtual std::uint64_t rounds() const = 0;
    // How the outcome of the attempt travels; everybody says the same.
    [[nodiscard]] virtual const Codec& outcome_codec() const = 0;
    // What an outcome's norm is about; 0: not known. One that is many times larger (norm_ratio_max) is
    // refused.
    [[nodiscard]] virtual double outcome_norm() const = 0;
    // Whether finish() needs the total of measure().
    [[nodiscard]] virtual bool needs_total() const = 0;

    struct Group {
        std::uint64_t weight = 0;      // of all contributions
        std::size_t contributors = 0;  // members
        bool followers = false;        // somebody receives who does not have what the step starts from
    };
    // An attempt begins in which this member owns `runs` (in order, disjoint). What an earlier attempt did is
    // void.
    virtual void begin(std::span<const Run> runs, const Group& group) = 0;
    // Of the mean in the own runs, >= 0; added up over all owners. `mean`: the whole vector, of which only
    // the own runs mean something.
    [[nodiscard]] virtual double measure(std::span<const float> mean) = 0;
    // Puts the outcome in the place of the mean, in the own runs. Nothing is final before average() reports
    // that the exchange was committed.
    virtual void finish(std::span<float> mean, double total) = 0;
};

// The step of a member that nobody else averages with: `values`, the own contribution, become the outcome.
// Precondition: it may own, and its weight is not zero.
void step_alone(OwnerStep& step, std::span<float> values);

}  // namespace Atoll::gossip
