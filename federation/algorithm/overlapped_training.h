// Training that goes on while an exchange is under way: gradients of as many batches as there is time for are
// added up meanwhile. The common part of ACCO and of delayed updates.
#pragma once

#include <optional>

#include "federation/algorithm/sharded_training.h"

namespace Atoll::federation {

class OverlappedTraining : public ShardedTraining {
  public:
    OverlappedTraining(const RunConfig& config, std::size_t parameters, std::uint64_t exchanges);

    // Beside ShardedTraining's: "gradient_sum" and "gradient_count" (own): of the batches since the last
    // exchange began, in which no exchange is under way.
    [[nodiscard]] std::vector<StateVector> state() override;
    [[nodiscard]] bool reserve(std::string_view name) override;
    void adopted(Worker& worker) override;

  protected:
    // What the worker did in one step: losses, tokens.
    struct Work {
        StepResult result;
        std::uint64_t batches = 0;
    };
    // Adds the gradient of the next batch at the worker's parameters.
    [[nodiscard]] Status accumulate(Worker& worker, Work& work);
    void clear_gradients();
    [[nodiscard]] bool has_gradients() const { return count_ > 0; }
    [[nodiscard]] std::uint32_t count() const { return static_cast<std::uint32_t>(count_); }

    // Exchange number `exchange`, of the mean of the gradients so far, while at least one more batch is taken
    // in; `clear` forgets those that are being exchanged. Then values() are the outcome of the exchange whose
    // number is returned; nothing if a peer's state was adopted instead.
    [[nodiscard]] Result<std::optional<std::uint64_t>> exchange_meanwhile(Context& context,
                                                                          std::uint64_t exchange, bool clear,
                                                                          Work& work, RoundReport& report);
    [[nodiscard]] std::span<float> values() { return exchanged_.span(); }
    void load(Worker& worker, std::span<const float> parameters);

  private:
    std::uint64_t batches_max_;
    kernels::FlatBuffer gradient_;   // of one batch
    kernels::FlatBuffer sum_;        // of gradients
    float count_ = 0;                // of them
    kernels::FlatBuffer exchanged_;  // the mean on its way, then the outcome
};

}  // namespace Atoll::federation
