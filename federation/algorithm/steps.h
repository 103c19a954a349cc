// What every algorithm does between two exchanges, in one place.
#pragma once

#include <cstdint>
#include <span>

#include "federation/algorithm/algorithm.h"

namespace Atoll::federation {

// Waits until the view has `count` members, logging what it waits for. Errors: interrupted.
[[nodiscard]] Status wait_for_members(Context& context, std::size_t count);

// Inner steps until worker.step() == end: tells the observer of each and membership (ProgressMade) once a
// second, and fills in tokens, train_loss and compute_seconds of the report. Errors: the worker's, the
// observer's; interrupted (between two steps) once a stop is requested or the host stops.
[[nodiscard]] Status take_inner_steps(Context& context, std::uint64_t round, std::uint64_t end,
                                      RoundReport& report);

// Errors (failed): a value is not finite; the parameters diverged at `step`.
[[nodiscard]] Status check_finite(std::span<const float> update, std::uint64_t step);

// Euclidean norm, accumulated in double.
[[nodiscard]] double norm(std::span<const float> values);

}  // namespace Atoll::federation
