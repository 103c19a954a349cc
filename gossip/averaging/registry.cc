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
};

}  // namespace

std::span<const AveragingEntry> averagings() { return kAveragings; }

Result<std::unique_ptr<Averaging>> make_averaging(std::string_view name, const AveragingContext& context) {
    const auto* it = std::ranges::find(kAveragings, name, &AveragingEntry::name);
    if (it == kAveragings.end()) return unknown_name("averaging", name, averagings());
    return it->make(context);
}

}  // namespace Atoll::gossip
