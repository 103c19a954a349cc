#include <array>

#include "federation/algorithm/entries.h"
#include "federation/names.h"

namespace Atoll::federation {

namespace {

constexpr std::array kAlgorithms = {
    AlgorithmEntry{"diloco", "H local steps, then an outer step on the averaged change of the parameters",
                   "Douillard et al. 2023, arXiv 2311.08105", make_diloco},
};

}  // namespace

std::span<const AlgorithmEntry> algorithms() { return kAlgorithms; }

Result<std::unique_ptr<Algorithm>> make_algorithm(std::string_view name, const RunConfig& config,
                                                  std::size_t parameters) {
    ATOLL_ASSIGN(const AlgorithmEntry* entry, find_entry("algorithm.name", name, algorithms()));
    return entry->make(config, parameters);
}

}  // namespace Atoll::federation
