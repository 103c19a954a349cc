#include <algorithm>
#include <array>

#include "gossip/averaging/entries.h"
#include "gossip/names.h"

namespace Atoll::gossip {

namespace {

constexpr std::array kAveragings = {
    AveragingEntry{"push_sum", "gossip over the topology with weights, deadlines and receipts",
                   "Kempe, Dobra, Gehrke 2003", make_push_sum},
    AveragingEntry{"all_reduce", "atomic: reduce-scatter and all-gather, shares by measured bandwidth",
                   "Patarasuk, Yuan 2009; Diskin et al. 2021", make_all_reduce},
    AveragingEntry{"trimmed_mean", "robust: each coordinate without its smallest and largest values",
                   "Yin et al. 2018, arXiv 1803.01498", make_trimmed_mean, true},
    AveragingEntry{"centered_clip", "robust: nobody pulls the centre further than a radius",
                   "Karimireddy, He and Jaggi 2021, arXiv 2012.10333", make_centered_clip, true},
    AveragingEntry{"geometric_median", "robust: the point with the least sum of distances",
                   "Pillutla, Kakade and Harchaoui 2022, arXiv 1912.13445", make_geometric_median, true},
};

}  // namespace

std::span<const AveragingEntry> averagings() { return kAveragings; }

Result<std::unique_ptr<Averaging>> make_averaging(std::string_view name, const AveragingContext& context) {
    const auto* it = std::ranges::find(kAveragings, name, &AveragingEntry::name);
    if (it == kAveragings.end()) return unknown_name("averaging", name, averagings());
    return it->make(context);
}

}  // namespace Atoll::gossip
