#include "federation/federated/member.h"

#include <algorithm>

#include "base/check.h"
#include "federation/algorithm/steps.h"
#include "federation/federated/packed.h"
#include "gossip/codec/seed.h"
#include "model/optim/schedule.h"

namespace Atoll::federation {

namespace {

MethodOptions method_options(const RunConfig& config, std::size_t parameters, const MethodEntry& entry) {
    const auto& federated = config.algorithm.federated;
    return {.parameters = parameters,
            .local_steps = static_cast<std::size_t>(config.algorithm.inner_steps),
            .server_learning_rate = federated.server_learning_rate > 0 ? federated.server_learning_rate
                                                                       : entry.server_learning_rate,
            .server_momentum = federated.server_momentum,
            .server_beta2 = federated.server_beta2,
            .server_epsilon = federated.server_epsilon,
            .proximal = federated.proximal};
}

std::unique_ptr<gossip::Codec> exact_codec() {
    auto codec = gossip::make_codec("none", {});
    ATOLL_CHECK(codec.ok());
    return std::move(*codec);
}

// The worker as a method sees it.
class WorkerReplica : public LocalReplica<float> {
  public:
    WorkerReplica(Worker& worker, const FederatedMember& member) : worker_(worker), member_(member) {}
    std::span<float> parameters() override { return worker_.parameters(); }
    Result<StepResult> step() override { return worker_.inner_step(); }
    Result<StepResult> gradient(std::span<float> gradient) override {
        worker_.parameters_changed();
        ATOLL_ASSIGN(const StepResult result, worker_.gradient(gradient));
        const auto scale =
            static_cast<float>(model::clip_scale(result.gradient_norm, member_.config.optimizer.clip_norm));
        if (scale != 1) {
            for (float& g : gradient) g *= scale;
        }
        worker_.set_step(worker_.step() + 1);
        return result;
    }
    float rate() const override { return static_cast<float>(member_.rate(worker_.step())); }

  private:
    Worker& worker_;
    const FederatedMember& member_;
};

bool gives_feedback(const RunConfig& config) {
    return config.codec.error_feedback && config.codec.name != "none";
}

}  // namespace

FederatedMember::FederatedMember(const RunConfig& run, std::size_t size, const MethodEntry& entry)
    : config(run),
      parameters(size),
      method(entry.make_float(method_options(run, size, entry))),
      exact(exact_codec()),
      client{.core = ClientCore<float>(*method, size, gives_feedback(run))} {}

ServerPart& FederatedMember::serve() {
    const bool remembers = method->tracks() && config.algorithm.federated.remember_clients;
    if (!server) server.emplace(*method, parameters, remembers ? parameters : 0);
    return *server;
}

double FederatedMember::rate(std::uint64_t step) const {
    const auto schedule = model::find_schedule(config.schedule.name);
    ATOLL_CHECK(schedule.ok());  // validate() has seen the name
    const model::ScheduleOptions options{.steps = schedule_steps(config),
                                         .warmup_steps = config.schedule.warmup_steps,
                                         .final_fraction = config.schedule.final_fraction,
                                         .decay_fraction = config.schedule.decay_fraction};
    return config.optimizer.learning_rate *
           (*schedule)->fraction(options, static_cast<std::int64_t>(step) + 1);
}

Result<EncodedVectors> FederatedMember::train(Context& context, std::span<const float> model,
                                              std::span<const float> mean, std::size_t clients,
                                              std::uint64_t at_round, RoundReport& report) {
    Worker& worker = context.worker;
    show_model(worker, model, at_round);
    WorkerReplica replica(worker, *this);
    LocalRound<float> local = client.core.begin(replica, model, mean, clients);
    std::size_t t = 0;
    ATOLL_TRY(take_inner_steps(context, at_round, (at_round + 1) * local_steps(), report,
                               [&](Worker&) { return method->local_step(local, t++); }));
    worker.parameters_changed();
    ATOLL_TRY(check_finite(worker.parameters(), worker.step()));
    report.update_norm = distance(model, worker.parameters());
    return encode(context, context.codec, client.core.end(local), at_round);
}

EncodedVectors FederatedMember::encode(Context& context, const gossip::Codec& codec,
                                       std::span<const ClientCore<float>::Outgoing> vectors,
                                       std::uint64_t at_round) {
    EncodedVectors encoded = encode_vectors(codec, vectors, [&](std::size_t part) {
        return gossip::codec_seed(context.seed, context.host.self(), at_round, 0, part);
    });
    client.core.sent();
    ++client.sequence;
    return encoded;
}

void FederatedMember::show_model(Worker& worker, std::span<const float> model, std::uint64_t at_round) const {
    set_parameters(worker, model, at_round * local_steps());
}

std::vector<StateVector> FederatedMember::state() {
    const std::span<float> packed = client.packed;
    pack(client.birth, packed.first<kPackedFloats>());
    pack(client.sequence, packed.subspan<kPackedFloats, kPackedFloats>());
    packed.back() = client.core.pending() ? 1.0F : 0.0F;
    std::vector<StateVector> vectors = {{"own.numbers", packed, false}};
    for (const auto& vector : client.core.state()) {
        vectors.push_back({"own." + std::string(vector.name), vector.values, false});
    }
    if (server) {
        for (const auto& vector : server->core.state()) {
            vectors.push_back({"server." + std::string(vector.name), vector.values, false});
        }
        server->clients.append_to(vectors);
    }
    return vectors;
}

bool FederatedMember::reserve(std::string_view name) {
    // Only a server's checkpoint has these: restored from it, the member serves again.
    if (name.starts_with("server.")) serve();
    if (server && server->clients.reserve(name)) return true;
    if (!server && (name.starts_with("registry.") || name.starts_with("memory."))) {
        return serve().clients.reserve(name);
    }
    const auto vectors = state();
    return std::ranges::any_of(vectors, [&](const StateVector& vector) { return vector.name == name; });
}

void FederatedMember::restored() {
    const std::span<const float> packed = client.packed;
    client.birth = unpack(packed.first<kPackedFloats>());
    client.sequence = unpack(packed.subspan<kPackedFloats, kPackedFloats>());
    client.core.set_pending(packed.back() != 0);
    if (server) server->clients.restored();
}

}  // namespace Atoll::federation
