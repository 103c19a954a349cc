#include "federation/federated/method.h"

#include <algorithm>
#include <array>

#include "federation/federated/methods.h"

namespace Atoll::federation {

template <typename Real>
Result<StepResult> Method<Real>::local_step(LocalRound<Real>& round, std::size_t) {
    round.rates += round.replica.rate();
    return round.replica.step();
}

template <typename Real>
void Method<Real>::server_step(std::span<Real> model, const Aggregate<Real>& aggregate) {
    if (aggregate.participants == 0) return;
    const auto rate = static_cast<Real>(options_.server_learning_rate);
    for (std::size_t i = 0; i < model.size(); ++i) model[i] -= rate * aggregate.update[i];
}

template class Method<float>;
template class Method<double>;

void attend(Attendance& attendance, bool took_part, double absent_max) {
    attendance.absent += 1;
    if (!took_part && attendance.absent < absent_max) return;
    attendance.weight =
        (attendance.intervals * attendance.weight + attendance.absent) / (attendance.intervals + 1);
    attendance.intervals += 1;
    attendance.absent = 0;
}

namespace {

constexpr std::array kMethods = {
    MethodEntry{"fedavg", 1, false, false, make_fedavg<float>, make_fedavg<double>},
    MethodEntry{"fedavgm", 1, false, false, make_fedavgm<float>, make_fedavgm<double>},
    MethodEntry{"fedadam", 0.03, false, false, make_fedadam<float>, make_fedadam<double>},
    MethodEntry{"fedyogi", 0.03, false, false, make_fedyogi<float>, make_fedyogi<double>},
    MethodEntry{"fedprox", 1, true, false, make_fedprox<float>, make_fedprox<double>},
    MethodEntry{"fedau", 1, false, false, make_fedau<float>, make_fedau<double>},
    MethodEntry{"mifa", 1, false, true, make_mifa<float>, make_mifa<double>},
    MethodEntry{"scaffold", 1, true, true, make_scaffold<float>, make_scaffold<double>},
    MethodEntry{"focus", 1, true, true, make_focus<float>, make_focus<double>},
};

}  // namespace

std::span<const MethodEntry> federated_methods() { return kMethods; }

const MethodEntry* find_method(std::string_view name) {
    const auto* const entry = std::ranges::find(kMethods, name, &MethodEntry::name);
    return entry == kMethods.end() ? nullptr : entry;
}

}  // namespace Atoll::federation
