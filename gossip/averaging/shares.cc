#include "gossip/averaging/shares.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>

#include "base/rng.h"

namespace Atoll::gossip {

namespace {

std::vector<double> with_unknown_filled(std::span<const double> bandwidths) {
    std::vector<double> known;
    for (const double bandwidth : bandwidths) {
        if (bandwidth > 0) known.push_back(bandwidth);
    }
    std::ranges::sort(known);
    const double median = known.empty() ? 1 : known[known.size() / 2];
    std::vector<double> filled(bandwidths.begin(), bandwidths.end());
    for (double& bandwidth : filled) {
        if (!(bandwidth > 0)) bandwidth = median;
    }
    return filled;
}

// f_i = max(0, (T b_i - 1) / (n - 2)), with T such that they add up to 1.
std::vector<double> fractions(const std::vector<double>& bandwidths) {
    const std::size_t n = bandwidths.size();
    if (n <= 2) return std::vector<double>(n, 1 / double(n));
    std::vector<double> fastest = bandwidths;
    std::ranges::sort(fastest, std::greater<>());
    double sum = 0;
    double time = 0;
    for (std::size_t k = 0; k < n; ++k) {
        if (k > 0 && time * fastest[k] <= 1) break;
        sum += fastest[k];
        time = double(n - 2 + k + 1) / sum;
    }
    std::vector<double> shares(n);
    for (std::size_t i = 0; i < n; ++i) shares[i] = std::max(0.0, (time * bandwidths[i] - 1) / double(n - 2));
    return shares;
}

std::uint64_t random_weight(const PeerId& owner, std::size_t shard) {
    std::uint64_t hash = mix64(shard);
    for (std::size_t at = 0; at < owner.key.size(); at += sizeof hash) {
        std::uint64_t word = 0;
        std::memcpy(&word, owner.key.data() + at, sizeof word);
        hash = mix64(hash ^ word);
    }
    return hash;
}

}  // namespace

std::vector<std::uint32_t> reduce_shares(std::span<const double> bandwidths, std::uint32_t units) {
    const std::vector<double> exact = fractions(with_unknown_filled(bandwidths));
    std::vector<std::uint32_t> shares(exact.size());
    std::vector<double> remainder(exact.size());
    for (std::size_t i = 0; i < exact.size(); ++i) {
        const double wanted = std::min(exact[i], 1.0) * units;
        // Rounded down by a hair more, so that the sum never exceeds `units`.
        shares[i] = static_cast<std::uint32_t>(std::max(0.0, std::floor(wanted - 1e-6)));
        remainder[i] = wanted - shares[i];
    }
    std::vector<std::size_t> order(exact.size());
    std::iota(order.begin(), order.end(), 0U);
    std::ranges::stable_sort(order, std::greater<>(), [&](std::size_t i) { return remainder[i]; });
    std::uint32_t left = units - std::accumulate(shares.begin(), shares.end(), 0U);
    for (std::size_t i = 0; left > 0; i = (i + 1) % order.size(), --left) ++shares[order[i]];
    return shares;
}

std::vector<std::size_t> deal_shards(std::span<const PeerId> owners, std::size_t shards) {
    const std::size_t most = (shards + owners.size() - 1) / owners.size();
    std::vector<std::size_t> load(owners.size());
    std::vector<std::size_t> dealt(shards);
    for (std::size_t shard = 0; shard < shards; ++shard) {
        std::size_t best = owners.size();
        std::uint64_t best_weight = 0;
        for (std::size_t i = 0; i < owners.size(); ++i) {
            if (load[i] == most) continue;
            const std::uint64_t weight = random_weight(owners[i], shard);
            if (best < owners.size() && weight <= best_weight) continue;
            best = i;
            best_weight = weight;
        }
        ++load[best];
        dealt[shard] = best;
    }
    return dealt;
}

}  // namespace Atoll::gossip
