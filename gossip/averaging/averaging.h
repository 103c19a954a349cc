// Averaging: turns each member's vectors into (an approximation of) the mean over the members that are there.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "gossip/averaging/owner_step.h"
#include "gossip/codec/codec.h"
#include "gossip/inbox.h"
#include "gossip/topology/topology.h"

namespace Atoll::gossip {

// One vector to average, in place.
struct AveragePart {
    std::span<float> values;
    const Codec* codec = nullptr;
    // Error feedback: one residual of values.size() floats per gossip stage, owned by the caller (it is
    // checkpointed); empty = none. Residuals are added to what is sent and keep what the codec lost.
    std::vector<std::span<float>> residuals;
    // The values mean something else every round (a rotating slice): mass of earlier rounds that comes late
    // is of no use to this part, which then is the mean over what came in time.
    bool rotates = false;
    // What the owners do with the mean. Only in a scheme that has owners, and then this is the only part.
    OwnerStep* step = nullptr;
};

struct AverageReport {
    double weight = 0;        // push-sum weight that reached us; 1 with everyone present
    std::size_t members = 0;  // in the view at the start
    bool complete = true;     // every expected share arrived in time
    bool agreed = false;  // all that took part hold these very bits; never so with schemes that only approach
                          // the mean (AveragingEntry::agrees)
    std::vector<std::string> reasons;  // if not: who was missing and why, in words
    std::uint64_t bytes_sent = 0;
    double seconds = 0;
    std::size_t stages = 0;  // gossip exchanges made
    // With a step of the owners: the round whose outcome the values now are, which is later than the one
    // asked for if the others were ahead. Nothing: the values are as they were.
    std::optional<std::uint64_t> stepped;
};

struct AveragingOptions {
    double deadline_seconds = 30;  // of one gossip stage
    std::int64_t stages = 0;       // 0: the rounds of the topology (the exact mean where it is exact)
    // push_sum: stages are made until nobody received anything further from its own values than this fraction
    // of their norm; `stages` is then the most, 0: enough. 0: off.
    double tolerance = 0;
    double trim_fraction = 0.2;   // trimmed_mean: of the values of a coordinate, at either end
    double clip_radius = 0;       // centered_clip; 0: that of half of the members
    std::uint64_t seed = 0;       // the run's: of the codecs' random choices
    double norm_ratio_max = 100;  // a share whose norm is more than this many times our own is refused
    std::string server;           // star: who serves (server_of(), gossip/view.h)
};

class Averaging {
  public:
    virtual ~Averaging() = default;
    // Gossip stages one average() takes with these members: how many residuals a part needs.
    [[nodiscard]] virtual std::size_t stages(const Roster& roster) const = 0;
    // Replaces the values of every part by the weighted mean. Every call passes parts of the same sizes and
    // meaning. Never waits longer than the deadline a stage; a member that is lost leaves a reason, not a
    // hang. Errors: interrupted when stopping; invalid if our own values are not finite (nothing is sent).
    [[nodiscard]] virtual Result<AverageReport> average(std::uint64_t round,
                                                        std::span<AveragePart> parts) = 0;
};

struct AveragingContext {
    Host& host;
    Inbox& inbox;
    const Topology& topology;
    AveragingOptions options;
};

struct AveragingEntry {
    std::string_view name;
    std::string_view summary;
    std::string_view source;
    std::unique_ptr<Averaging> (*make)(const AveragingContext&);
    // Bounds what liars can do, and gives up the exact mean for it.
    bool robust = false;
    // Either all that take part end with the same bits, or the report says that it did not come to that and
    // the values are as they were.
    bool agrees = false;
    bool owners = false;  // carries out AveragePart::step
};

[[nodiscard]] std::span<const AveragingEntry> averagings();
[[nodiscard]] Result<std::unique_ptr<Averaging>> make_averaging(std::string_view name,
                                                                const AveragingContext& context);

}  // namespace Atoll::gossip
