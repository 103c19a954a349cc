#include <array>

#include "federation/algorithm/entries.h"
#include "federation/names.h"

namespace Atoll::federation {

namespace {

constexpr std::array kAlgorithms = {
    AlgorithmEntry{"diloco", "H local steps, then an outer step on the averaged change of the parameters",
                   "Douillard et al. 2023, arXiv 2311.08105", make_diloco},
    AlgorithmEntry{"streaming_diloco", "diloco in fragments, exchanged in turn while inner steps go on",
                   "Douillard et al. 2025, arXiv 2501.18512", make_streaming_diloco, 0,
                   check_streaming_diloco},
    AlgorithmEntry{"async_diloco", "nobody waits: every update is applied when it comes, momentum delayed",
                   "Liu et al. 2024, arXiv 2401.09135", make_async_diloco, 0, check_async_diloco, false},
    AlgorithmEntry{"decoupled_diloco",
                   "nobody waits: outer steps with a quorum, lengths and directions apart",
                   "arXiv 2604.21428", make_decoupled_diloco, 0, check_decoupled_diloco, false},
    AlgorithmEntry{.name = "muloco",
                   .summary = "diloco with Muon inside",
                   .source = "Therien et al. 2025, arXiv 2505.23725",
                   .make = make_diloco,
                   .check = check_muloco,
                   .defaults = muloco_defaults},
    AlgorithmEntry{.name = "sparseloco",
                   .summary = "diloco whose updates are cut to 0.22 bits a parameter; no outer momentum",
                   .source = "Sarfi et al. 2025, arXiv 2508.15706",
                   .make = make_diloco,
                   .stages = 1,
                   .check = check_sparseloco,
                   .defaults = sparseloco_defaults},
    AlgorithmEntry{.name = "noloco",
                   .summary = "diloco that meets one random member a round: nothing ever waits for all",
                   .source = "Kolehmainen et al. 2025, arXiv 2506.10911",
                   .make = make_noloco,
                   .stages = 1,
                   .check = check_noloco,
                   .defaults = noloco_defaults},
    AlgorithmEntry{.name = "noloco_cascade",
                   .summary = "noloco that meets the null-cascade graph's neighbours in turn",
                   .source = "Kolehmainen et al. 2025, arXiv 2506.10911; Niwa et al. 2025",
                   .make = make_noloco,
                   .stages = 1,
                   .check = check_noloco,
                   .defaults = noloco_cascade_defaults},
    AlgorithmEntry{.name = "demo",
                   .summary = "every step the largest DCT coefficients of the momenta, then the sign",
                   .source = "Peng et al. 2024, arXiv 2411.19870",
                   .make = make_demo,
                   .stages = 1,
                   .check = check_demo,
                   .defaults = demo_defaults},
    AlgorithmEntry{.name = "sparta",
                   .summary = "every step a random few of the parameters are averaged",
                   .source = "Beton et al. 2025, SPARTA",
                   .make = make_sparta,
                   .stages = 1,
                   .check = check_sparta,
                   .defaults = sparta_defaults},
    AlgorithmEntry{"dsgd", "H local steps of SGD, then the parameters are mixed with the neighbours'",
                   "Lian et al. 2017, arXiv 1705.09056", make_local_optimizer_gossip, 1, check_dsgd},
    AlgorithmEntry{"dsgdm", "dsgd with momentum that stays at home",
                   "Yu, Jin and Yang 2019, arXiv 1905.03817", make_local_optimizer_gossip, 1, check_dsgdm},
    AlgorithmEntry{"qg_dsgdm", "dsgd with a momentum that follows the mixed parameters",
                   "Lin et al. 2021, arXiv 2102.04761", make_qg_dsgdm, 1, check_qg_dsgdm},
    AlgorithmEntry{"gradient_tracking", "every member follows the mean gradient: exact with unequal data",
                   "Nedic, Olshevsky and Shi 2017, arXiv 1607.03218", make_gradient_tracking, 1,
                   check_gradient_tracking, true,
                   "lost messages: what a lost share carried is missing in the sum of the trackers"},
    AlgorithmEntry{
        "decentralized_adam", "H local steps of an adaptive optimizer, then the parameters are mixed",
        "Lin et al. 2021, arXiv 2102.04761", make_local_optimizer_gossip, 1, check_decentralized_adam},
    AlgorithmEntry{"decomfl", "zeroth-order tuning: only slopes along common random directions are sent",
                   "Li et al. 2025, arXiv 2405.15861", make_decomfl, 0, check_decomfl},
    AlgorithmEntry{"fedkseed", "zeroth-order tuning along K directions: K sums are the model",
                   "Qin et al. 2024, arXiv 2312.06353", make_fedkseed, 0, check_fedkseed},
};

}  // namespace

std::span<const AlgorithmEntry> algorithms() { return kAlgorithms; }

Result<std::unique_ptr<Algorithm>> make_algorithm(std::string_view name, const RunConfig& config,
                                                  std::size_t parameters) {
    ATOLL_ASSIGN(const AlgorithmEntry* entry, find_entry("algorithm.name", name, algorithms()));
    return entry->make(config, parameters);
}

}  // namespace Atoll::federation
