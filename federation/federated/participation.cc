#include "federation/federated/participation.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <sstream>

#include "base/files.h"
#include "base/rng.h"
#include "federation/names.h"

namespace Atoll::federation {

namespace {

using Clients = std::vector<std::size_t>;

double uniform(std::uint64_t seed, std::string_view name, std::size_t client, std::uint64_t round) {
    return Rng(seed).split(name, client).split("round", round).uniform();
}

// The client's own chance. A van der Corput sequence, shifted by the seed: however many clients there are,
// their chances cover [low, high] evenly.
double chance(const ParticipationOptions& options, std::size_t client) {
    double place = Rng(options.seed).split("chances").uniform();
    double digit = 0.5;
    for (std::size_t i = client; i > 0; i /= 2, digit /= 2) place += i % 2 == 1 ? digit : 0;
    return options.low + (options.high - options.low) * (place - std::floor(place));
}

std::size_t count_of(const ParticipationOptions& options, std::size_t clients) {
    const std::size_t count = options.count > 0 ? options.count : std::max<std::size_t>(clients / 4, 1);
    return std::min(count, clients);
}

Clients all(std::size_t clients) {
    Clients numbers(clients);
    std::iota(numbers.begin(), numbers.end(), 0U);
    return numbers;
}

// The `count` clients whose keys are least.
template <typename Key>
Clients least(std::size_t clients, std::size_t count, const Key& key) {
    std::vector<double> keys;
    for (std::size_t i = 0; i < clients; ++i) keys.push_back(key(i));
    Clients numbers = all(clients);
    std::ranges::stable_sort(numbers, {}, [&](std::size_t i) { return keys[i]; });
    numbers.resize(count);
    std::ranges::sort(numbers);
    return numbers;
}

class Full : public Participation {
  public:
    explicit Full(const ParticipationOptions&) {}
    Clients participants(std::uint64_t, std::size_t clients) const override { return all(clients); }
};

// m of N, all sets alike.
class Uniform : public Participation {
  public:
    explicit Uniform(ParticipationOptions options) : options_(std::move(options)) {}
    Clients participants(std::uint64_t round, std::size_t clients) const override {
        return least(clients, count_of(options_, clients),
                     [&](std::size_t i) { return uniform(options_.seed, "uniform", i, round); });
    }

  private:
    ParticipationOptions options_;
};

// Each client for itself, with a chance of its own.
class Bernoulli : public Participation {
  public:
    explicit Bernoulli(ParticipationOptions options) : options_(std::move(options)) {}
    Clients participants(std::uint64_t round, std::size_t clients) const override {
        Clients numbers = all(clients);
        std::erase_if(numbers, [&](std::size_t i) {
            return uniform(options_.seed, "bernoulli", i, round) >= chance(options_, i);
        });
        return numbers;
    }

  private:
    ParticipationOptions options_;
};

// A chain of two states a client: one who is there stays with chance `stay`, one who is away comes with its
// own chance. It begins in its stationary distribution.
class Markov : public Participation {
  public:
    explicit Markov(ParticipationOptions options) : options_(std::move(options)) {}
    Clients participants(std::uint64_t round, std::size_t clients) const override {
        Clients numbers = all(clients);
        std::erase_if(numbers, [&](std::size_t i) { return !there(i, round); });
        return numbers;
    }

  private:
    // Only the last rounds matter: once both states, driven by the same random numbers, have met, what was
    // before makes no difference. So the state is found by going back until they have.
    bool there(std::size_t client, std::uint64_t round) const {
        for (std::uint64_t back = 8;; back *= 2) {
            const std::uint64_t first = round > back ? round - back : 0;
            bool from_away = false;
            bool from_there = true;
            if (first == 0) {
                const double come = chance(options_, client);
                const double leave = 1 - options_.stay;
                from_away = uniform(options_.seed, "markov start", client, 0) * (come + leave) < come;
                from_there = from_away;
            }
            for (std::uint64_t r = first + 1; r <= round; ++r) {
                from_away = next(client, r, from_away);
                from_there = next(client, r, from_there);
            }
            if (from_away == from_there) return from_away;
        }
    }
    bool next(std::size_t client, std::uint64_t round, bool before) const {
        return uniform(options_.seed, "markov", client, round) <
               (before ? options_.stay : chance(options_, client));
    }
    ParticipationOptions options_;
};

// Blocks of m, one after the other.
class Cyclic : public Participation {
  public:
    explicit Cyclic(ParticipationOptions options) : options_(std::move(options)) {}
    Clients participants(std::uint64_t round, std::size_t clients) const override {
        if (clients == 0) return {};
        const std::size_t count = count_of(options_, clients);
        const std::size_t blocks = (clients + count - 1) / count;
        const std::size_t first = round % blocks * count;
        Clients numbers = all(clients);
        std::erase_if(numbers, [&](std::size_t i) { return i < first || i >= first + count; });
        return numbers;
    }

  private:
    ParticipationOptions options_;
};

// m of N drawn one after the other without replacement, each time with chances in proportion to the clients'
// weights: those with the largest u^(1/w) (Efraimidis and Spirakis 2006).
class Categorical : public Participation {
  public:
    explicit Categorical(ParticipationOptions options) : options_(std::move(options)) {}
    Clients participants(std::uint64_t round, std::size_t clients) const override {
        return least(clients, count_of(options_, clients), [&](std::size_t i) {
            return -std::log(1 - uniform(options_.seed, "categorical", i, round)) /
                   std::max(chance(options_, i), 1e-9);
        });
    }

  private:
    ParticipationOptions options_;
};

// As written in a file; after its last line it begins again.
class Trace : public Participation {
  public:
    explicit Trace(std::vector<Clients> rounds) : rounds_(std::move(rounds)) {}
    Clients participants(std::uint64_t round, std::size_t clients) const override {
        Clients numbers = rounds_[round % rounds_.size()];
        std::erase_if(numbers, [&](std::size_t i) { return i >= clients; });
        return numbers;
    }

  private:
    std::vector<Clients> rounds_;
};

template <typename Law>
Result<std::unique_ptr<Participation>> make(const ParticipationOptions& options) {
    return std::unique_ptr<Participation>(std::make_unique<Law>(options));
}

Result<std::unique_ptr<Participation>> read_trace(const ParticipationOptions& options) {
    ATOLL_ASSIGN(const std::string text, read_text(options.trace));
    std::vector<Clients> rounds;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with('#')) continue;
        std::istringstream fields(line);
        Clients numbers;
        for (std::size_t number = 0; fields >> number;) numbers.push_back(number);
        if (!fields.eof()) {
            return Error{ErrorCode::invalid,
                         fmt::format("algorithm.participation_trace = {}: \"{}\": expected the numbers of "
                                     "clients, counted from 0, as \"0 3 7\"",
                                     options.trace, line.substr(0, 80))};
        }
        std::ranges::sort(numbers);
        numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
        rounds.push_back(std::move(numbers));
    }
    if (rounds.empty()) {
        return Error{ErrorCode::invalid, fmt::format("algorithm.participation_trace = {}: has no line: "
                                                     "expected the clients of one round a line",
                                                     options.trace)};
    }
    return std::unique_ptr<Participation>(std::make_unique<Trace>(std::move(rounds)));
}

constexpr std::array kLaws = {
    ParticipationEntry{"full", "everybody", make<Full>},
    ParticipationEntry{"uniform", "m of N, all sets alike", make<Uniform>},
    ParticipationEntry{"bernoulli", "each client with a chance of its own", make<Bernoulli>},
    ParticipationEntry{"markov", "each client comes and stays with chances of its own", make<Markov>},
    ParticipationEntry{"cyclic", "blocks of m, one after the other", make<Cyclic>},
    ParticipationEntry{"categorical", "m of N, some more often than others", make<Categorical>},
    ParticipationEntry{"trace", "as written in a file", read_trace},
};

}  // namespace

std::span<const ParticipationEntry> participation_laws() { return kLaws; }

Result<std::unique_ptr<Participation>> make_participation(std::string_view name,
                                                          const ParticipationOptions& options) {
    ATOLL_ASSIGN(const ParticipationEntry* entry,
                 find_entry("algorithm.participation", name, participation_laws()));
    return entry->make(options);
}

}  // namespace Atoll::federation
