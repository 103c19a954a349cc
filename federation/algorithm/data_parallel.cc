// Synchronous data-parallel training with a sharded optimizer (ZeRO stage 1, Rajbhandari et al. 2020, section
// 5.1), the baseline of everything:
//
//   g_i    gradient of the next local batch at theta                     every member i
//   G    = sum_i n_i g_i / sum_i n_i                                     reduce-scatter; n_i tokens
//   G   <- G min(1, clip / |G|)
//   (theta, s)_k <- Opt((theta, s)_k, G_k)                               the owner of shard k
//   theta <- all theta_k                                                 all-gather
//
// M members with batches of b tokens make the steps of one with a batch of M b.
#include <algorithm>

#include "federation/algorithm/entries.h"
#include "federation/algorithm/sharded_training.h"

namespace Atoll::federation {

namespace {

class DataParallel final : public ShardedTraining {
  public:
    DataParallel(const RunConfig& config, std::size_t parameters)
        : ShardedTraining(config, parameters, 1), gradient_(parameters) {}

  private:
    Result<StepResult> step(Context& context, RoundReport& report) override {
        Worker& worker = context.worker;
        const std::uint64_t at = worker.step();
        ATOLL_ASSIGN(const StepResult result, worker.gradient(gradient_.span()));
        optimizer_.start(worker, {.parameters = worker.parameters(),
                                  .weight = static_cast<std::uint32_t>(result.tokens),
                                  .learning_rate = result.learning_rate,
                                  .step = at});

        const double start = context.host.now();
        ATOLL_ASSIGN(auto exchanged, average(context, at, gradient_.span()));
        ATOLL_ASSIGN(const auto stepped, settle(context, at, gradient_.span(), std::move(exchanged), report));
        report.exchange_seconds += context.host.now() - start;

        if (!stepped) return result;
        if (*stepped == at) optimizer_.commit();
        std::ranges::copy(gradient_.span(), worker.parameters().begin());
        worker.parameters_changed();
        worker.set_step(*stepped + 1);
        return result;
    }

    kernels::FlatBuffer gradient_;  // of this member; then the new parameters of all
};

}  // namespace

std::unique_ptr<Algorithm> make_data_parallel(const RunConfig& config, std::size_t parameters) {
    return std::make_unique<DataParallel>(config, parameters);
}

}  // namespace Atoll::federation
