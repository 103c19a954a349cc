#include "gossip/topology/circulant.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>

#include "base/check.h"

namespace Atoll::gossip {

namespace {

std::complex<double> response(const std::vector<Tap>& taps, std::size_t n, std::size_t frequency) {
    std::complex<double> sum = 0;
    for (const Tap& tap : taps) {
        const auto turns = static_cast<double>(frequency * tap.offset % n) / static_cast<double>(n);
        sum += tap.weight * std::polar(1.0, 2 * std::numbers::pi * turns);
    }
    return sum;
}

}  // namespace

bool CirculantTopology::exact(std::size_t n) const {
    std::vector<bool> alive(n, true);  // frequencies that no round has removed yet
    for (std::size_t phase = 0; n > 1 && phase < period(n); ++phase) {
        const std::vector<Tap> round = taps(n, phase);
        for (std::size_t f = 1; f < n; ++f) {
            if (alive[f] && std::abs(response(round, n, f)) < 1e-13) alive[f] = false;
        }
    }
    return std::none_of(alive.begin() + (n > 0 ? 1 : 0), alive.end(), [](bool is_alive) { return is_alive; });
}

Exchange CirculantTopology::exchange(std::size_t n, std::size_t index, std::uint64_t round) const {
    ATOLL_CHECK(index < n);
    if (n == 1) return {};
    Exchange exchange{.keep = 0, .send = {}, .receive = {}};
    for (const Tap& tap : taps(n, static_cast<std::size_t>(round % period(n)))) {
        if (tap.offset == 0) {
            exchange.keep = tap.weight;
        } else {
            exchange.send.push_back({(index + n - tap.offset) % n, tap.weight});
            exchange.receive.push_back({(index + tap.offset) % n, tap.weight});
        }
    }
    std::ranges::sort(exchange.send, {}, &Edge::member);
    std::ranges::sort(exchange.receive, {}, &Edge::member);
    return exchange;
}

}  // namespace Atoll::gossip
