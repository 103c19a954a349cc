// Participation laws: which of a run's clients the server asks to take part in a round. Pure functions of
// (seed, round, client): every member could say, and a simulation repeats them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace Atoll::federation {

struct ParticipationOptions {
    std::uint64_t seed = 0;
    std::size_t count = 0;  // clients a round; 0: a quarter of them, at least one
    double low = 0.1;       // chances of single clients are spread evenly from low ...
    double high = 0.9;      // ... to high
    double stay = 0.7;
    std::string trace;  // path
};

class Participation {
  public:
    virtual ~Participation() = default;
    // Numbers of those of the clients 0 .. clients - 1 that take part in `round`, ascending; may be empty.
    [[nodiscard]] virtual std::vector<std::size_t> participants(std::uint64_t round,
                                                                std::size_t clients) const = 0;
};

struct ParticipationEntry {
    std::string_view name;
    std::string_view summary;
    // Errors: of a trace that cannot be read.
    Result<std::unique_ptr<Participation>> (*make)(const ParticipationOptions& options);
};

[[nodiscard]] std::span<const ParticipationEntry> participation_laws();
// Errors (invalid): unknown name, with the nearest known one.
[[nodiscard]] Result<std::unique_ptr<Participation>> make_participation(std::string_view name,
                                                                        const ParticipationOptions& options);

}  // namespace Atoll::federation
