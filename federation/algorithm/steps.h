// What every algorithm does between two exchanges, in one place.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "federation/algorithm/algorithm.h"

namespace Atoll::federation {

// Waits until the view has `count` members, logging what it waits for. Errors: interrupted.
[[nodiscard]] Status wait_for_members(Context& context, std::size_t count);

// Errors (corrupt): the step of a restored worker is not in round `round` of `inner_steps` steps each.
[[nodiscard]] Status check_position(const Worker& worker, std::uint64_t round, std::uint64_t inner_steps);

// Takes one step; must advance worker.step() by one.
using TakeStep = std::function<Result<StepResult>(Worker& worker)>;

// Inner steps until worker.step() == end (the inner optimizer's, or `take_step`): tells the observer of each
// and membership (ProgressMade) once a second, and adds to steps, tokens, train_loss (the mean) and
// compute_seconds of the report. Errors: the worker's, the observer's; interrupted (between two steps) once a
// stop is requested or the host stops.
[[nodiscard]] Status take_inner_steps(Context& context, std::uint64_t round, std::uint64_t end,
                                      RoundReport& report, const TakeStep& take_step = &Worker::inner_step);

// What ends a round of the algorithms that go through them together: publishes the state, tells the observer
// (with round and step of the report filled in) and, after an incomplete exchange, asks a peer where it
// stands. Errors: the observer's; interrupted.
[[nodiscard]] Status end_round(Context& context, Algorithm& algorithm, RoundReport& report);

// The replica stands at `parameters` (of its layout) after `step` inner steps: newly a peer's or a server's.
void set_parameters(Worker& worker, std::span<const float> parameters, std::uint64_t step);

// Errors (failed): a value is not finite; the parameters diverged at `step`.
[[nodiscard]] Status check_finite(std::span<const float> update, std::uint64_t step);

// Euclidean norm, accumulated in double.
[[nodiscard]] double norm(std::span<const float> values);
// Of the difference. Precondition: equal lengths.
[[nodiscard]] double distance(std::span<const float> a, std::span<const float> b);

}  // namespace Atoll::federation
