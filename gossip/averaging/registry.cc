#include <algorithm>
#include <array>

#include "gossip/averaging/entries.h"
#include "gossip/names.h"

namespace Atoll::gossip {

namespace {

constexpr std::array kAveragings = {
    AveragingEntry{.name = "push_sum",
                   .summary = "gossip over the topology with weights, deadlines and receipts",
                   .source = "Kempe, Dobra, Gehrke 2003",
                   .make = make_push_sum},
    AveragingEntry{.name = "all_reduce",
                   .summary = "atomic: reduce-scatter and all-gather, shares by measured bandwidth",
                   .source = "Patarasuk, Yuan 2009; Diskin et al. 2021",
                   .make = make_all_reduce,
                   .agrees = true,
                   .owners = true},
    AveragingEntry{.name = "star",
                   .summary = "around a server that sums in a fixed order and answers",
                   .source = "McMahan et al. 2017, arXiv 1602.05629",
                   .make = make_star},
    AveragingEntry{.name = "trimmed_mean",
                   .summary = "robust: each coordinate without its smallest and largest values",
                   .source = "Yin et al. 2018, arXiv 1803.01498",
                   .make = make_trimmed_mean,
                   .robust = true},
    AveragingEntry{.name = "centered_clip",
                   .summary = "robust: nobody pulls the centre further than a radius",
                   .source = "Karimireddy, He and Jaggi 2021, arXiv 2012.10333",
                   .make = make_centered_clip,
                   .robust = true},
    AveragingEntry{.name = "geometric_median",
                   .summary = "robust: the point with the least sum of distances",
                   .source = "Pillutla, Kakade and Harchaoui 2022, arXiv 1912.13445",
                   .make = make_geometric_median,
                   .robust = true},
};

}  // namespace

std::span<const AveragingEntry> averagings() { return kAveragings; }

Result<std::unique_ptr<Averaging>> make_averaging(std::string_view name, const AveragingContext& context) {
    const auto* it = std::ranges::find(kAveragings, name, &AveragingEntry::name);
    if (it == kAveragings.end()) return unknown_name("averaging", name, averagings());
    return it->make(context);
}

}  // namespace Atoll::gossip
