// Delayed parameter updates (as Nabli et al. 2025 define the baseline; the delay of one step is that of Ren
// et al. 2021, ZeRO-Offload): the gradient is reduced while the next one is taken, so that each update uses
// gradients of the model before.
//
//   exchange t:    G = sum_i g_i / sum_i n_i                 of gradients taken at theta_{t-1}
//                  theta_{t+1}, s = Opt(theta_t, s, G)
//     meanwhile    g_i, n_i = gradients at theta_t
//
// Stable up to rate x curvature = 1, half of what acco bears.
#include "federation/algorithm/entries.h"
#include "federation/algorithm/overlapped_training.h"

namespace Atoll::federation {

namespace {

class DelayedUpdate final : public OverlappedTraining {
  public:
    DelayedUpdate(const RunConfig& config, std::size_t parameters)
        : OverlappedTraining(config, parameters, 1) {}

  private:
    Result<StepResult> step(Context& context, RoundReport& report) override {
        Worker& worker = context.worker;
        const std::uint64_t at = worker.step();
        Work work;
        if (!has_gradients()) ATOLL_TRY(accumulate(worker, work));
        optimizer_.start(worker, {.parameters = worker.parameters(),
                                  .weight = count(),
                                  .learning_rate = worker.learning_rate(),
                                  .step = at});
        ATOLL_ASSIGN(const auto outcome, exchange_meanwhile(context, at, true, work, report));
        if (!outcome) return work.result;
        if (*outcome == at) {
            optimizer_.commit();
        } else {
            clear_gradients();
        }
        load(worker, values());
        worker.set_step(*outcome + 1);
        return work.result;
    }
};

}  // namespace

std::unique_ptr<Algorithm> make_delayed_update(const RunConfig& config, std::size_t parameters) {
    return std::make_unique<DelayedUpdate>(config, parameters);
}

}  // namespace Atoll::federation
