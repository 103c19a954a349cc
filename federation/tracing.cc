#include "federation/tracing.h"

#include <exception>

namespace Atoll::federation {

namespace {

constexpr std::string_view kComputeTrack = "compute";
constexpr std::string_view kExchangeTrack = "exchange";

// Reports what lies between its construction and its destruction. Nothing of what an exception ends: a
// simulated machine was switched off, and who would be told may be gone already.
class Span {
  public:
    Span(gossip::Host& host, const SpanSink& sink, std::string_view track, std::string_view name)
        : host_(host), sink_(sink), track_(track), name_(name), begin_(host.now()) {}
    ~Span() {
        if (std::uncaught_exceptions() == exceptions_) sink_(track_, name_, begin_, host_.now());
    }
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;

  private:
    gossip::Host& host_;
    const SpanSink& sink_;
    std::string_view track_;
    std::string_view name_;
    double begin_;
    int exceptions_ = std::uncaught_exceptions();
};

class TracingOptimizer final : public model::Optimizer {
  public:
    TracingOptimizer(std::unique_ptr<model::Optimizer> optimizer, gossip::Host& host, const SpanSink& sink)
        : optimizer_(std::move(optimizer)), host_(host), sink_(sink) {}
    void step(const model::OptimizerStep& step) override {
        const Span span(host_, sink_, kExchangeTrack, "outer step");
        optimizer_->step(step);
    }
    std::vector<model::StateVector> state() override { return optimizer_->state(); }
    std::span<const float> gradient_point(std::span<const float> parameters) override {
        return optimizer_->gradient_point(parameters);
    }
    bool wants_curvature(std::int64_t step) const override { return optimizer_->wants_curvature(step); }
    void curvature(std::span<const float> sampled_gradients) override {
        optimizer_->curvature(sampled_gradients);
    }
    void parameters_replaced() override { optimizer_->parameters_replaced(); }

  private:
    std::unique_ptr<model::Optimizer> optimizer_;
    gossip::Host& host_;
    const SpanSink& sink_;
};

class TracingCodec final : public gossip::Codec {
  public:
    TracingCodec(std::unique_ptr<gossip::Codec> codec, gossip::Host& host, const SpanSink& sink)
        : codec_(std::move(codec)), host_(host), sink_(sink) {}
    std::string_view name() const override { return codec_->name(); }
    std::uint8_t wire_id() const override { return codec_->wire_id(); }
    std::size_t encoded_bytes(std::size_t count) const override { return codec_->encoded_bytes(count); }
    bool lossless() const override { return codec_->lossless(); }
    std::size_t encode(std::span<const float> values, std::span<float> residual, std::span<std::byte> out,
                       std::span<float> decoded, const gossip::CodecSeed& seed) const override {
        const Span span(host_, sink_, kExchangeTrack, "encode");
        return codec_->encode(values, residual, out, decoded, seed);
    }
    Status decode(ByteView bytes, std::span<float> out, float scale, bool accumulate) const override {
        const Span span(host_, sink_, kExchangeTrack, "decode");
        return codec_->decode(bytes, out, scale, accumulate);
    }

  private:
    std::unique_ptr<gossip::Codec> codec_;
    gossip::Host& host_;
    const SpanSink& sink_;
};

}  // namespace

void TracingWorker::parameters_changed() {
    worker_.parameters_changed();
    const double exchanged = exchange_end_.exchange(-1);
    if (exchanged >= 0) sink_(kComputeTrack, "outer step", exchanged, host_.now());
}

Result<StepResult> TracingWorker::inner_step() {
    const Span span(host_, sink_, kComputeTrack, "compute");
    return worker_.inner_step();
}

Result<StepResult> TracingWorker::gradient(std::span<float> gradient) {
    const Span span(host_, sink_, kComputeTrack, "compute");
    return worker_.gradient(gradient);
}

Result<model::BatchLoss> TracingWorker::loss(model::Draw draw) {
    const Span span(host_, sink_, kComputeTrack, "compute");
    return worker_.loss(draw);
}

Result<double> TracingWorker::validation_loss() {
    const Span span(host_, sink_, kComputeTrack, "evaluate");
    return worker_.validation_loss();
}

Result<std::unique_ptr<model::Optimizer>> TracingWorker::make_optimizer(const kernels::Layout& layout) {
    ATOLL_ASSIGN(std::unique_ptr<model::Optimizer> optimizer, worker_.make_optimizer(layout));
    return std::unique_ptr<model::Optimizer>(
        std::make_unique<TracingOptimizer>(std::move(optimizer), host_, sink_));
}

Result<gossip::AverageReport> TracingAveraging::average(std::uint64_t round,
                                                        std::span<gossip::AveragePart> parts) {
    auto report = [&] {
        const Span span(host_, sink_, kExchangeTrack, "exchange");
        return averaging_->average(round, parts);
    }();
    // A step of the owners is part of the exchange, which may be of another activity than the worker's.
    if (parts.empty() || parts.front().step == nullptr) worker_.exchanged();
    return report;
}

std::unique_ptr<gossip::Codec> trace_codec(std::unique_ptr<gossip::Codec> codec, gossip::Host& host,
                                           const SpanSink& sink) {
    return std::make_unique<TracingCodec>(std::move(codec), host, sink);
}

}  // namespace Atoll::federation
