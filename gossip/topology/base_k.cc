// Base-(k+1) graph (Takezawa et al. 2023): at most k peers a round and the exact mean for every n, if the
// rounds of a period are taken in order. Three constructions, each built on the one before:
//
//   hyper(v)   |v| has no prime factor above k+1: factors f_1 <= f_2 <= .. of |v| (greedily k+1..2); in round
//              i cliques of f_i members that are f_1 .. f_{i-1} apart.
//   simple(v)  |v| = sum of a_l (k+1)^{p_l}: v is cut into blocks V_1, V_2, .. of these sizes, each of a_l
//              equal sub-blocks. (A) Each block runs hyper. (B) In round j each member of the later blocks
//              meets one member of every sub-block of V_j, with the weight |V_j| / (|V_j| + |V_j+1| + ..) /
//              a_j: then the later members, and every sub-block of V_j as a whole, hold the mean. (C) The
//              sub-blocks run hyper. Blocks whose values are equal already do not talk (the paper lets them).
//   base(n)    n = P Q with P the part whose prime factors are at most k+1: simple on P rows of Q members,
//              then hyper on the columns; or simple(n) where that is shorter.
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "gossip/topology/entries.h"
#include "gossip/topology/latest.h"
#include "gossip/topology/symmetric.h"

namespace Atoll::gossip {

namespace {

using Members = std::vector<std::uint32_t>;

struct Link {
    std::uint32_t a = 0;
    std::uint32_t b = 0;
    double weight = 0;
};
using Rounds = std::vector<std::vector<Link>>;

Members range(std::size_t begin, std::size_t count, std::size_t stride = 1) {
    Members members(count);
    for (std::size_t i = 0; i < count; ++i) members[i] = static_cast<std::uint32_t>(begin + i * stride);
    return members;
}

Members slice(const Members& members, std::size_t begin, std::size_t count) {
    const auto first = members.begin() + static_cast<std::ptrdiff_t>(begin);
    return {first, first + static_cast<std::ptrdiff_t>(count)};
}

// The factors of `size` up to base, ascending, and what is left: 1 if hyper can do it.
struct Factors {
    std::vector<std::size_t> small;
    std::size_t rest = 1;
};

Factors factorise(std::size_t size, std::size_t base) {
    Factors factors{{}, size};
    for (std::size_t q = base; q >= 2; --q) {
        for (; factors.rest % q == 0; factors.rest /= q) factors.small.push_back(q);
    }
    std::ranges::reverse(factors.small);
    return factors;
}

std::vector<Link>& round_at(Rounds& rounds, std::size_t index) {
    if (rounds.size() <= index) rounds.resize(index + 1);
    return rounds[index];
}

// Adds the rounds of hyper(v) from round `at` on; returns how many there are.
std::size_t add_hyper(const Members& v, std::size_t base, std::size_t at, Rounds& rounds) {
    std::size_t stride = 1;
    const std::vector<std::size_t> factors = factorise(v.size(), base).small;
    for (const std::size_t factor : factors) {
        std::vector<Link>& round = round_at(rounds, at++);
        const double weight = 1.0 / static_cast<double>(factor);
        for (std::size_t first = 0; first < v.size(); ++first) {
            if (first / stride % factor != 0) continue;
            for (std::size_t i = 0; i < factor; ++i) {
                for (std::size_t j = i + 1; j < factor; ++j)
                    round.push_back({v[first + stride * i], v[first + stride * j], weight});
            }
        }
        stride *= factor;
    }
    return factors.size();
}

struct Block {
    std::vector<Members> parts;  // equal sub-blocks
    std::size_t size = 0;
};

std::vector<Block> cut(const Members& v, std::size_t base) {
    std::size_t power = 1;
    while (power * base <= v.size()) power *= base;
    std::vector<Block> blocks;
    for (std::size_t at = 0; power > 0; power /= base) {
        Block block;
        for (; at + power <= v.size(); at += power) block.parts.push_back(slice(v, at, power));
        block.size = block.parts.size() * power;
        if (block.size > 0) blocks.push_back(std::move(block));
    }
    return blocks;
}

void add_simple(const Members& v, std::size_t base, Rounds& rounds) {
    if (factorise(v.size(), base).rest == 1) {
        add_hyper(v, base, 0, rounds);
        return;
    }
    const std::vector<Block> blocks = cut(v, base);
    std::size_t meeting = 0;  // the first round of phase B: the first block, the largest, takes longest
    for (std::size_t l = 0, at = 0; l < blocks.size(); at += blocks[l++].size)
        meeting = std::max(meeting, add_hyper(slice(v, at, blocks[l].size), base, 0, rounds));
    std::size_t later_begin = 0;
    for (std::size_t j = 0; j < blocks.size(); ++j, ++meeting) {
        const Block& block = blocks[j];
        const std::size_t all = v.size() - later_begin;  // members of this block and the later ones
        later_begin += block.size;
        const double weight = static_cast<double>(block.size) / static_cast<double>(all) /
                              static_cast<double>(block.parts.size());
        for (std::size_t i = later_begin; i < v.size(); ++i) {
            for (const Members& part : block.parts)
                round_at(rounds, meeting).push_back({v[i], part[i - later_begin], weight});
        }
        // The last block has met everybody in the rounds before, and holds the mean.
        for (std::size_t p = 0; j + 1 < blocks.size() && p < block.parts.size(); ++p)
            add_hyper(block.parts[p], base, meeting + 1, rounds);
    }
}

Rounds make_rounds(std::size_t n, std::size_t base) {
    const std::size_t rest = factorise(n, base).rest;
    const std::size_t rows = n / rest;
    Rounds rounds;
    for (std::size_t row = 0; row < rows; ++row) add_simple(range(row * rest, rest), base, rounds);
    const std::size_t at = rounds.size();
    for (std::size_t column = 0; column < rest; ++column)
        add_hyper(range(column, rows, rest), base, at, rounds);
    if (rest == 1 || rows == 1) return rounds;
    Rounds plain;
    add_simple(range(0, n), base, plain);
    return plain.size() < rounds.size() ? plain : rounds;
}

// A round by member: whom member i meets is halves[begin[i] .. begin[i + 1]). Few weights are different ones.
struct ByMember {
    struct Half {
        std::uint32_t member = 0;
        std::uint32_t weight = 0;  // index
    };
    std::vector<double> weights;
    std::vector<std::uint32_t> begin;
    std::vector<Half> halves;
};

ByMember by_member(const std::vector<Link>& links, std::size_t n) {
    ByMember round;
    round.begin.assign(n + 1, 0);
    for (const Link& link : links) {
        ++round.begin[link.a + 1];
        ++round.begin[link.b + 1];
    }
    std::partial_sum(round.begin.begin(), round.begin.end(), round.begin.begin());
    round.halves.resize(2 * links.size());
    std::map<double, std::uint32_t> known;
    std::vector<std::uint32_t> at(round.begin.begin(), round.begin.end() - 1);
    for (const Link& link : links) {
        const auto [weight, is_new] =
            known.try_emplace(link.weight, static_cast<std::uint32_t>(round.weights.size()));
        if (is_new) round.weights.push_back(link.weight);
        round.halves[at[link.a]++] = {link.b, weight->second};
        round.halves[at[link.b]++] = {link.a, weight->second};
    }
    return round;
}

class BaseK : public SymmetricTopology {
  public:
    explicit BaseK(std::size_t degree) : degree_(degree) {}

    [[nodiscard]] std::string rules() const override { return fmt::format("base_k degree={}", degree_); }
    [[nodiscard]] std::size_t rounds(const Roster& roster) const override {
        return schedule(roster.n)->size();
    }
    [[nodiscard]] bool exact(const Roster&) const override { return true; }

  protected:
    [[nodiscard]] std::vector<Edge> partners(std::size_t n, std::size_t index,
                                             std::uint64_t round) const override {
        const auto rounds = schedule(n);
        const ByMember& now = (*rounds)[static_cast<std::size_t>(round % rounds->size())];
        std::vector<Edge> edges;
        for (std::uint32_t i = now.begin[index]; i < now.begin[index + 1]; ++i)
            edges.push_back({now.halves[i].member, now.weights[now.halves[i].weight]});
        return edges;
    }

  private:
    [[nodiscard]] std::shared_ptr<const std::vector<ByMember>> schedule(std::size_t n) const {
        return latest_.get(n, [&] {
            std::vector<ByMember> schedule;
            if (n < 2) return schedule;
            // Nobody has more than n - 1 peers: then it is the full exchange.
            for (const auto& links : make_rounds(n, std::min(degree_, n - 1) + 1))
                schedule.push_back(by_member(links, n));
            return schedule;
        });
    }

    std::size_t degree_;
    Latest<std::size_t, std::vector<ByMember>> latest_;
};

}  // namespace

std::unique_ptr<Topology> make_base_k(const TopologyOptions& options) {
    return std::make_unique<BaseK>(static_cast<std::size_t>(options.degree));
}

}  // namespace Atoll::gossip
