#include "model/tokenizer/merges.h"

#include <functional>
#include <queue>
#include <tuple>

#include "base/rng.h"

namespace Atoll::model {

namespace {

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
    return (std::uint64_t{static_cast<std::uint32_t>(left)} << 32U) | static_cast<std::uint32_t>(right);
}

struct Symbol {
    std::int32_t id;
    std::int32_t previous;
    std::int32_t next;  // -1: none
};

struct Candidate {
    std::int32_t rank;
    std::int32_t position;  // of the left symbol
    std::int32_t left;      // ids when it was found: a candidate whose symbols have changed since is stale
    std::int32_t right;

    bool operator>(const Candidate& other) const {
        return std::tie(rank, position) > std::tie(other.rank, other.position);
    }
};

}  // namespace

std::size_t MergeTable::PairHash::operator()(std::uint64_t pair) const { return mix64(pair); }

MergeTable::MergeTable(const std::vector<Merge>& merges) {
    rules_.reserve(merges.size());
    for (std::size_t rank = 0; rank < merges.size(); ++rank) {
        rules_.try_emplace(pair_key(merges[rank].left, merges[rank].right),
                           Rule{static_cast<std::int32_t>(rank), merges[rank].merged});
    }
}

const MergeTable::Rule* MergeTable::find(std::int32_t left, std::int32_t right) const {
    const auto it = rules_.find(pair_key(left, right));
    return it == rules_.end() ? nullptr : &it->second;
}

void MergeTable::apply(std::vector<std::int32_t>& word) const {
    const auto count = static_cast<std::int32_t>(word.size());
    if (count < 2 || rules_.empty()) return;
    std::vector<Symbol> symbols(word.size());
    for (std::int32_t i = 0; i < count; ++i) {
        symbols[static_cast<std::size_t>(i)] = {word[static_cast<std::size_t>(i)], i - 1,
                                                i + 1 < count ? i + 1 : -1};
    }
    const auto at = [&](std::int32_t position) -> Symbol& {
        return symbols[static_cast<std::size_t>(position)];
    };
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;
    const auto consider = [&](std::int32_t position) {
        if (position < 0 || at(position).next < 0) return;
        const std::int32_t left = at(position).id;
        const std::int32_t right = at(at(position).next).id;
        if (const Rule* rule = find(left, right)) candidates.push({rule->rank, position, left, right});
    };
    for (std::int32_t i = 0; i + 1 < count; ++i) consider(i);
    while (!candidates.empty()) {
        const Candidate best = candidates.top();
        candidates.pop();
        Symbol& left = at(best.position);
        if (left.id != best.left || left.next < 0 || at(left.next).id != best.right) continue;
        Symbol& right = at(left.next);
        left.id = find(best.left, best.right)->merged;
        right.id = -1;
        left.next = right.next;
        if (left.next >= 0) at(left.next).previous = best.position;
        consider(left.previous);
        consider(best.position);
    }
    word.clear();
    for (std::int32_t i = 0; i >= 0; i = at(i).next) word.push_back(at(i).id);
}

}  // namespace Atoll::model
