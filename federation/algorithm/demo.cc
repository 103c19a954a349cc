// DeMo, decoupled momentum (Peng, Quesnelle and Kingma 2024, algorithm 1). Momenta stay apart; in every step
// members exchange only the fast components of theirs, the largest DCT coefficients, and take the sign:
//
//   m_i <- beta m_i + eta g_i
//   q_i  = the largest coefficients of m_i (codec dct_topk),   m_i <- m_i - q_i
//   x   <- x - eta sign(mean of the q_i)                       with decoupled weight decay
//
// So a momentum is nothing but the residual of error feedback. All take the same step as long as all hear of
// the same q_i; a lost message leaves parameters eta apart where the sign has turned, and steps add such
// differences up. Therefore a rotating slice of the parameters is averaged beside, as in diloco.
#include <fmt/core.h>

#include <algorithm>

#include "base/check.h"
#include "federation/algorithm/checks.h"
#include "federation/algorithm/diloco.h"
#include "federation/algorithm/entries.h"
#include "federation/algorithm/gossip_training.h"
#include "federation/algorithm/steps.h"
#include "federation/names.h"

namespace Atoll::federation {

namespace {

class DecoupledMomentum final : public GossipTraining {
  public:
    DecoupledMomentum(const RunConfig& config, std::size_t parameters)
        : GossipTraining(config, parameters, 0),
          step_(config, parameters),
          decay_(static_cast<float>(config.algorithm.momentum_decay)),
          slices_(static_cast<std::size_t>(config.algorithm.anchor_slices)),
          momentum_(parameters),
          update_(parameters),
          rest_(parameters) {
        auto exact = gossip::make_codec("none", {});
        ATOLL_CHECK(exact.ok());
        exact_ = std::move(*exact);
        slice_ = kernels::FlatBuffer(slice_of(update_.span(), 0, slices_).size());
    }

    // "momentum" (own): a peer's holds what it still owes; "rate" (own): eta, between gradient and exchange.
    std::vector<StateVector> state() override {
        std::vector<StateVector> vectors = GossipTraining::state();
        vectors.push_back({"momentum", momentum_.span(), false});
        vectors.push_back({"rate", {&rate_, 1}, false});
        return vectors;
    }
    void adopted(Worker& worker) override {
        GossipTraining::adopted(worker);
        std::ranges::fill(momentum_.span(), 0.0F);
    }

  private:
    Result<StepResult> local_step(Worker& worker) override {
        ATOLL_ASSIGN(const StepResult result, step_.take_gradient(worker));
        const std::span<const float> g = step_.gradient();
        rate_ = static_cast<float>(result.learning_rate);
        for (std::size_t i = 0; i < g.size(); ++i) {
            momentum_.data()[i] = decay_ * momentum_.data()[i] + rate_ * g[i];
        }
        worker.set_step(worker.step() + 1);  // the parameters follow in mix()
        return result;
    }

    Status mix(Context& context, RoundReport& report) override {
        Worker& worker = context.worker;
        ATOLL_TRY(check_finite(momentum_.span(), worker.step()));
        // Until the exchange is done the momentum stays whole.
        std::ranges::copy(momentum_.span(), update_.span().begin());
        std::ranges::fill(rest_.span(), 0.0F);
        const std::span<float> x = slice_of(worker.parameters(), round(), slices_);
        const std::span<float> slice = slice_.span().first(x.size());
        std::ranges::copy(x, slice.begin());
        std::vector<gossip::AveragePart> parts;
        parts.push_back({.values = update_.span(), .codec = &context.codec, .residuals = {rest_.span()}});
        if (!slice.empty()) parts.push_back({.values = slice, .codec = exact_.get(), .rotates = true});
        context.inbox.absorb();
        const double start = context.host.now();
        ATOLL_ASSIGN(report.average, context.averaging.average(round(), parts));
        report.exchange_seconds = context.host.now() - start;
        const bool untouched = std::ranges::all_of(rest_.span(), [](float value) { return value == 0; });
        if (untouched) compress_alone(context.codec);
        std::ranges::copy(rest_.span(), momentum_.span().begin());
        std::ranges::copy(slice, x.begin());
        for (float& value : update_.span()) value = value > 0 ? 1.0F : value < 0 ? -1.0F : 0.0F;
        step_.move(worker, update_.span(), static_cast<double>(rate_));
        settle(worker, report);
        return {};
    }

    // Nobody was there to receive anything: a member does to its momentum what it would do in company.
    void compress_alone(const gossip::Codec& codec) {
        encoded_.resize(codec.encoded_bytes(update_.size()));
        (void)codec.encode(update_.span(), rest_.span(), encoded_, update_.span(), {});
    }

    OwnStep step_;
    float decay_;  // beta
    std::size_t slices_;
    std::unique_ptr<gossip::Codec> exact_;  // of the parameters' slices
    kernels::FlatBuffer momentum_;          // m_i
    kernels::FlatBuffer update_;            // m_i, then the mean of the q_i, then its sign
    kernels::FlatBuffer rest_;              // m_i - q_i
    kernels::FlatBuffer slice_;
    Bytes encoded_;
    float rate_ = 0;
};

}  // namespace

std::unique_ptr<Algorithm> make_demo(const RunConfig& config, std::size_t parameters) {
    return std::make_unique<DecoupledMomentum>(config, parameters);
}

void demo_defaults(RunConfig& config) {
    config.algorithm.inner_steps = 1;
    config.algorithm.momentum_decay = 0.999;
    config.algorithm.anchor_slices = 1024;  // 0.03 bits a parameter beside the 0.22 of the codec
    config.optimizer.name = "sgd";
    take_defaults(config.optimizer);
    config.optimizer.learning_rate = 3e-4;  // a step moves every parameter by the rate, as in Lion
    config.topology.name = "full";
    config.codec.name = "dct_topk";
    config.codec.error_feedback = true;
}

Status check_demo(const RunConfig& config) {
    ATOLL_TRY(check_no_outer_step(config));
    ATOLL_TRY(check_sgd_optimizer(config, Momentum::none));
    ATOLL_ASSIGN(const gossip::CodecEntry* codec,
                 find_entry("codec.name", config.codec.name, gossip::codecs()));
    const auto contradiction = [](std::string what) { return Error{ErrorCode::invalid, std::move(what)}; };
    if (config.algorithm.inner_steps != 1) {
        return contradiction(
            fmt::format("algorithm.name = demo exchanges in every step but "
                        "algorithm.inner_steps = {}: expected 1",
                        config.algorithm.inner_steps));
    }
    if (!codec->sparse) {
        return contradiction(
            fmt::format("algorithm.name = demo but codec.name = {} leaves no momentum at home: "
                        "expected a sparse one, as dct_topk",
                        config.codec.name));
    }
    if (!config.codec.error_feedback || config.codec.feedback_decay != 1) {
        return contradiction(
            fmt::format("algorithm.name = demo keeps what its codec leaves out as momentum but "
                        "codec.error_feedback = {} and codec.feedback_decay = {}: expected true "
                        "and 1 (algorithm.momentum_decay is the decay)",
                        config.codec.error_feedback, config.codec.feedback_decay));
    }
    if (config.averaging.stages > 1) {
        return contradiction(
            fmt::format("algorithm.name = demo exchanges once in every step but averaging.stages = {}: "
                        "expected 0 or 1",
                        config.averaging.stages));
    }
    if (config.averaging.name == "push_sum" && config.topology.name != "full") {
        return contradiction(
            fmt::format("algorithm.name = demo needs everybody's part in every step but "
                        "topology.name = {}: expected full, or averaging.name = all_reduce",
                        config.topology.name));
    }
    return {};
}

}  // namespace Atoll::federation
