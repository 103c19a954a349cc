// What rank 0's trainer tells those of the other ranks: each public operation that all ranks take part in.
// Below, the same code runs at all of them.
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "base/check.h"
#include "model/trainer.h"

namespace Atoll::model {

// On the way an order is its number and, behind it, the operation's arguments.
enum class Trainer::Order : std::uint8_t {
    inner_step,
    gradient,
    loss,         // Draw
    add_normals,  // the terms
    validation_loss,
    parameters_changed,
    seek,  // Position
    drop_trial,
    gather_state,
    scatter_state,
    release_optimizer,
    go_home,
};

namespace {

template <typename T>
ByteView bytes_of(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    return std::as_bytes(std::span(&value, 1));
}

template <typename T>
T value_of(ByteView bytes) {
    T value{};
    ATOLL_CHECK(bytes.size() == sizeof value);
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
}

std::vector<kernels::NormalTerm> terms_of(ByteView bytes) {
    std::vector<kernels::NormalTerm> terms(bytes.size() / sizeof(kernels::NormalTerm));
    std::memcpy(terms.data(), bytes.data(), terms.size() * sizeof(kernels::NormalTerm));
    return terms;
}

Status status_of(const auto& result) { return result.ok() ? Status() : Status(result.error()); }

void keep_first(Status& kept, const Status& status) {
    if (kept.ok()) kept = status;
}

}  // namespace

Status Trainer::tell(Order order, ByteView what) {
    if (ranks_.size() == 1) return {};
    ATOLL_CHECK(ranks_.rank() == 0);  // the others follow
    ATOLL_TRY(lost_);
    Bytes bytes{static_cast<std::byte>(order)};
    bytes.insert(bytes.end(), what.begin(), what.end());
    return status_of(ranks_.broadcast(bytes));
}

Trainer::~Trainer() {
    if (ranks_.rank() == 0) (void)tell(Order::go_home);
}

Result<TrainStep> Trainer::inner_step() {
    ATOLL_TRY(tell(Order::inner_step));
    return inner_step_together();
}

Result<TrainStep> Trainer::gradient(std::span<float> gradient) {
    ATOLL_TRY(tell(Order::gradient));
    return gradient_together(gradient);
}

Result<BatchLoss> Trainer::loss(Draw draw) {
    ATOLL_TRY(tell(Order::loss, bytes_of(draw)));
    return loss_together(draw);
}

void Trainer::add_normals(std::span<const kernels::NormalTerm> terms) {
    keep_first(lost_, tell(Order::add_normals, std::as_bytes(terms)));
    add_normals_here(terms);
}

Result<double> Trainer::validation_loss() {
    ATOLL_TRY(tell(Order::validation_loss));
    return validation_loss_together();
}

void Trainer::parameters_changed() {
    const Status told = tell(Order::parameters_changed);
    keep_first(lost_, told.ok() ? parameters_changed_together() : told);
}

Status Trainer::parameters_changed_together() {
    ATOLL_TRY(ranks_.broadcast(parameters_.span()));
    ops_.weights_changed();
    if (optimizer_) optimizer_->parameters_replaced();
    if (search_) search_->merged();
    return {};
}

void Trainer::seek(const Position& position) {
    keep_first(lost_, tell(Order::seek, bytes_of(position)));
    seek_here(position);
}

bool Trainer::drop_trial() {
    if (!in_trial()) return false;
    keep_first(lost_, tell(Order::drop_trial));
    return drop_trial_here();
}

Result<std::vector<StateVector>> Trainer::gather_state() {
    if (ranks_.size() == 1) return optimizer_state();
    ATOLL_TRY(tell(Order::gather_state));
    return shared_state_.gather(optimizer_state());
}

Status Trainer::scatter_state() {
    if (ranks_.size() == 1) return {};
    ATOLL_TRY(tell(Order::scatter_state));
    return shared_state_.scatter(optimizer_state());
}

void Trainer::release_optimizer() {
    keep_first(lost_, tell(Order::release_optimizer));
    optimizer_.reset();
}

Status Trainer::follow() {
    kernels::FlatBuffer gradient;
    while (true) {
        ATOLL_ASSIGN(const Bytes order, ranks_.broadcast(ByteView()));
        ATOLL_ASSIGN(const bool more, obey(order, gradient));
        if (!more) return {};
    }
}

Result<bool> Trainer::obey(ByteView order, kernels::FlatBuffer& gradient) {
    ATOLL_CHECK(!order.empty());
    const ByteView what = order.subspan(1);
    Status done;
    switch (static_cast<Order>(order[0])) {
        case Order::inner_step: done = status_of(inner_step_together()); break;
        case Order::gradient:
            if (gradient.size() == 0) gradient = kernels::FlatBuffer(parameters_.size());
            done = status_of(gradient_together(gradient.span()));
            break;
        case Order::loss: done = status_of(loss_together(value_of<Draw>(what))); break;
        case Order::add_normals: add_normals_here(terms_of(what)); break;
        case Order::validation_loss: done = status_of(validation_loss_together()); break;
        case Order::parameters_changed: done = parameters_changed_together(); break;
        case Order::seek: seek_here(value_of<Position>(what)); break;
        case Order::drop_trial: (void)drop_trial_here(); break;
        case Order::gather_state: done = status_of(shared_state_.gather(optimizer_state())); break;
        case Order::scatter_state: done = shared_state_.scatter(optimizer_state()); break;
        case Order::release_optimizer: optimizer_.reset(); break;
        case Order::go_home: return false;
    }
    if (!done.ok()) return done.error();
    return true;
}

}  // namespace Atoll::model
