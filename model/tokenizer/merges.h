// The merge rules of byte-pair encoding, and their application to one word.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

namespace Atoll::model {

// Tokens `left` and `right`, adjacent, become `merged`.
struct Merge {
    std::int32_t left = 0;
    std::int32_t right = 0;
    std::int32_t merged = 0;
};

class MergeTable {
  public:
    MergeTable() = default;
    // Rank = index: the first rule goes first. Of equal pairs the first counts.
    explicit MergeTable(const std::vector<Merge>& merges);

    // Merges the adjacent pair of lowest rank, the leftmost on ties, until no rule applies; in place. O(n log
    // n).
    void apply(std::vector<std::int32_t>& word) const;

    struct Rule {
        std::int32_t rank;
        std::int32_t merged;
    };
    // nullptr if the pair is never merged.
    [[nodiscard]] const Rule* find(std::int32_t left, std::int32_t right) const;

  private:
    struct PairHash {
        std::size_t operator()(std::uint64_t pair) const;
    };
    std::unordered_map<std::uint64_t, Rule, PairHash> rules_;
};

}  // namespace Atoll::model
