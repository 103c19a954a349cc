#include "gossip/averaging/owner_step.h"

namespace Atoll::gossip {

void step_alone(OwnerStep& step, std::span<float> values) {
    const OwnerStep::Run all{0, values.size()};
    step.begin({&all, 1}, {.weight = step.weight(), .contributors = 1});
    const double total = step.needs_total() ? step.measure(values) : 0;
    step.finish(values, total);
}

}  // namespace Atoll::gossip
