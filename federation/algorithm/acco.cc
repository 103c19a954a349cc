// ACCO, accumulate while you communicate (Nabli et al. 2025, algorithm 1, arXiv 2406.02613): each update is
// made of two halves of a batch, so that workers compute all the time. While the first half is reduced into a
// provisional model, the second half is taken at the real one; while both together are reduced into the next
// model, the first half of the next batch is taken at the provisional one.
//
//   exchange 2t:       G = sum_i gbar_i / sum_i nbar_i
//     (estimate)       thetabar = Opt(theta, s, G).theta                      the new state is thrown away
//     meanwhile        g_i, n_i += gradients at theta
//   exchange 2t + 1:   G = sum_i (gbar_i + g_i) / sum_i (nbar_i + n_i)
//     (commit)         theta, s = Opt(theta, s, G)                            from the same theta and s
//     meanwhile        gbar_i, nbar_i = gradients at thetabar
//
// g and gbar are sums over the n and nbar batches that a member took in: fast members contribute more. Opt's
// state is sharded. Stable up to rate x curvature = 2, as gradient descent; updates that are simply one step
// late (delayed_update) up to 1.
#include <algorithm>

#include "federation/algorithm/entries.h"
#include "federation/algorithm/overlapped_training.h"

namespace Atoll::federation {

namespace {

class Acco final : public OverlappedTraining {
  public:
    Acco(const RunConfig& config, std::size_t parameters)
        : OverlappedTraining(config, parameters, 2), theta_(parameters) {}

  private:
    static bool commits(std::uint64_t exchange) { return exchange % 2 == 1; }

    Result<StepResult> step(Context& context, RoundReport& report) override {
        Worker& worker = context.worker;
        const std::uint64_t at = worker.step();
        std::ranges::copy(worker.parameters(), theta_.span().begin());
        Work work;
        if (!has_gradients()) ATOLL_TRY(accumulate(worker, work));

        bool has_theta = true;
        for (std::uint64_t exchange = 2 * at;;) {
            optimizer_.start(worker, {.parameters = has_theta ? theta_.span() : std::span<const float>(),
                                      .weight = has_theta ? count() : 0,
                                      .learning_rate = worker.learning_rate(),
                                      .step = at});
            ATOLL_ASSIGN(const auto outcome,
                         exchange_meanwhile(context, exchange, commits(exchange), work, report));
            if (!outcome) return work.result;
            const bool followed = *outcome != exchange;
            if (followed) clear_gradients();  // they were taken at another model than the others'
            load(worker, values());
            if (commits(*outcome)) {
                if (!followed) optimizer_.commit();
                worker.set_step(*outcome / 2 + 1);
                return work.result;
            }
            has_theta = !followed;
            exchange = *outcome + 1;
        }
    }

    kernels::FlatBuffer theta_;  // what both exchanges start from
};

}  // namespace

std::unique_ptr<Algorithm> make_acco(const RunConfig& config, std::size_t parameters) {
    return std::make_unique<Acco>(config, parameters);
}

}  // namespace Atoll::federation
