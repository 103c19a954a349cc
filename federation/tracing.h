// What a member does when, told from outside: decorators of the parts of a session that report spans of host
// time. Algorithms know nothing of it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string_view>

#include "federation/worker.h"
#include "gossip/averaging/averaging.h"
#include "gossip/codec/codec.h"
#include "gossip/host.h"

namespace Atoll::federation {

// `name` lasted from `begin` to `end`, in host time. Called from the activity that did it.
using SpanSink = std::function<void(std::string_view track, std::string_view name, double begin, double end)>;

// "compute" (track "compute"): inner_step(), gradient() and loss(). "evaluate": validation_loss(). "outer
// step": from the end of an exchange to parameters_changed() (track "compute"), and the steps of the
// optimizers that make_optimizer() gives (track "exchange").
class TracingWorker : public Worker {
  public:
    // All outlive the object.
    TracingWorker(Worker& worker, gossip::Host& host, const SpanSink& sink)
        : worker_(worker), host_(host), sink_(sink) {}

    [[nodiscard]] const kernels::Layout& layout() const override { return worker_.layout(); }
    [[nodiscard]] std::span<float> parameters() override { return worker_.parameters(); }
    void parameters_changed() override;
    [[nodiscard]] Result<StepResult> inner_step() override;
    [[nodiscard]] Result<StepResult> gradient(std::span<float> gradient) override;
    [[nodiscard]] Result<model::BatchLoss> loss(model::Draw draw) override;
    void add_normals(std::span<const kernels::NormalTerm> terms) override { worker_.add_normals(terms); }
    [[nodiscard]] Result<double> validation_loss() override;
    [[nodiscard]] Result<std::unique_ptr<model::Optimizer>> make_optimizer(
        const kernels::Layout& layout) override;
    [[nodiscard]] double learning_rate() const override { return worker_.learning_rate(); }
    void release_optimizer() override { worker_.release_optimizer(); }
    [[nodiscard]] std::uint64_t step() const override { return worker_.step(); }
    void set_step(std::uint64_t step) override { worker_.set_step(step); }

    // An exchange of the algorithm's own activity has ended.
    void exchanged() { exchange_end_ = host_.now(); }

  private:
    Worker& worker_;
    gossip::Host& host_;
    const SpanSink& sink_;
    std::atomic<double> exchange_end_ = -1;  // not followed by parameters_changed() yet
};

// "exchange" (track "exchange"): average().
class TracingAveraging : public gossip::Averaging {
  public:
    // `worker`: hears of the ends of exchanges. All outlive the object.
    TracingAveraging(std::unique_ptr<gossip::Averaging> averaging, gossip::Host& host, TracingWorker& worker,
                     const SpanSink& sink)
        : averaging_(std::move(averaging)), host_(host), worker_(worker), sink_(sink) {}

    [[nodiscard]] std::size_t stages(const gossip::Roster& roster) const override {
        return averaging_->stages(roster);
    }
    [[nodiscard]] Result<gossip::AverageReport> average(std::uint64_t round,
                                                        std::span<gossip::AveragePart> parts) override;

  private:
    std::unique_ptr<gossip::Averaging> averaging_;
    gossip::Host& host_;
    TracingWorker& worker_;
    const SpanSink& sink_;
};

// "encode" and "decode" (track "exchange").
[[nodiscard]] std::unique_ptr<gossip::Codec> trace_codec(std::unique_ptr<gossip::Codec> codec,
                                                         gossip::Host& host, const SpanSink& sink);

}  // namespace Atoll::federation
