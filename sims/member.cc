#include "sims/member.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "base/log.h"
#include "federation/replica_worker.h"
#include "model/data/loader.h"
#include "sims/simulation.h"
#include "sims/toy_worker.h"

namespace Atoll::sims {

namespace {

// A step takes virtual time: the computation itself is over in an instant of the simulated clock.
class TimedWorker : public federation::Worker {
  public:
    TimedWorker(federation::Worker& worker, gossip::Host& host, double step_seconds)
        : worker_(worker), host_(host), step_seconds_(step_seconds) {}
    const kernels::Layout& layout() const override { return worker_.layout(); }
    std::span<float> parameters() override { return worker_.parameters(); }
    void parameters_changed() override { worker_.parameters_changed(); }
    Result<federation::StepResult> inner_step() override {
        host_.sleep(step_seconds_);
        return worker_.inner_step();
    }
    Result<federation::StepResult> gradient(std::span<float> gradient) override {
        host_.sleep(step_seconds_);
        return worker_.gradient(gradient);
    }
    Result<model::BatchLoss> loss(model::Draw draw) override {
        if (draw == model::Draw::next) host_.sleep(step_seconds_);
        return worker_.loss(draw);
    }
    void add_normals(std::span<const kernels::NormalTerm> terms) override { worker_.add_normals(terms); }
    Result<double> validation_loss() override { return worker_.validation_loss(); }
    Result<std::unique_ptr<model::Optimizer>> make_optimizer(const kernels::Layout& layout) override {
        return worker_.make_optimizer(layout);
    }
    double learning_rate() const override { return worker_.learning_rate(); }
    void release_optimizer() override { worker_.release_optimizer(); }
    std::uint64_t step() const override { return worker_.step(); }
    void set_step(std::uint64_t step) override { worker_.set_step(step); }

  private:
    federation::Worker& worker_;
    gossip::Host& host_;
    double step_seconds_;
};

std::string name_of(std::size_t node) { return fmt::format("node-{}", node); }

// Never dialled: the simulated network finds a peer by its id.
std::string address_of(std::size_t node) { return fmt::format("tcp://10.0.0.1:{}", 10000 + node); }

}  // namespace

Bytes record_of(const gossip::Identity& identity, const gossip::Certificate& certificate, std::size_t node) {
    return gossip::make_member_record(identity, certificate, name_of(node), address_of(node), 0).encode();
}

// What a member has on disk: the state at its last outer step.
struct Member::Saved {
    bool valid = false;
    std::vector<float> parameters;
    std::map<std::string, std::vector<float>> optimizer;
    std::map<std::string, std::vector<float>> algorithm;
    model::Trainer::Position position;
    std::uint64_t round = 0;
};

// The worker of one incarnation with what it stands on.
class Member::Replica {
  public:
    static Result<std::unique_ptr<Replica>> make(const World& world, std::size_t node) {
        auto replica = std::make_unique<Replica>();
        const federation::RunConfig& run = world.scenario.run;
        const auto seed = static_cast<std::uint64_t>(run.run.seed);
        if (world.toys) {
            ToyWorker::Options options;
            options.parameters = static_cast<std::size_t>(world.scenario.simulation.toy_parameters);
            options.learning_rate = run.optimizer.learning_rate;
            options.heterogeneity = world.scenario.simulation.toy_heterogeneity;
            options.seed = seed;
            options.node = node;
            const model::TrainerOptions trainer = federation::trainer_options(run);
            options.optimizer = trainer.optimizer;
            options.optimizer_options = trainer.optimizer_options;
            options.tokens_per_step =
                static_cast<std::uint64_t>(run.optimizer.batch_sequences * run.model.context);
            replica->toy_ = std::make_unique<ToyWorker>(options);
            return replica;
        }
        model::LoaderOptions data;
        data.source = world.data;
        data.seed = seed;
        data.vocabulary = run.model.vocabulary;
        data.held_out = run.data.held_out;
        data.stream = node;
        if (run.data.assignment == "split") {
            data.member_index = node;
            data.member_count = world.scenario.nodes();
        }
        ATOLL_ASSIGN(replica->loader_, model::Loader::open(data));
        model::TrainerOptions options = federation::trainer_options(run);
        options.held_out_batches_max = world.scenario.simulation.evaluate_batches;
        ATOLL_ASSIGN(replica->trainer_, model::Trainer::make(world.ops, *replica->loader_, options));
        replica->real_ = std::make_unique<federation::ReplicaWorker>(*replica->trainer_);
        return replica;
    }

    federation::Worker& worker() {
        if (toy_) return *toy_;
        return *real_;
    }

    void save(Saved& saved, federation::Algorithm& algorithm) {
        const auto copy = [](std::span<const float> values) {
            return std::vector<float>(values.begin(), values.end());
        };
        saved.valid = true;
        saved.parameters = copy(worker().parameters());
        saved.round = algorithm.round();
        saved.algorithm.clear();  // vectors come and go
        for (const auto& vector : algorithm.state()) saved.algorithm[vector.name] = copy(vector.values);
        if (trainer_) {
            saved.position = trainer_->position();
            for (const auto& vector : trainer_->optimizer_state())
                saved.optimizer[vector.name] = copy(vector.values);
        } else {
            saved.position.step = toy_->step();
        }
    }

    void restore(const Saved& saved, federation::Algorithm& algorithm) {
        std::ranges::copy(saved.parameters, worker().parameters().begin());
        worker().parameters_changed();
        for (const auto& [name, values] : saved.algorithm) (void)algorithm.reserve(name);
        for (const auto& vector : algorithm.state()) {
            const auto found = saved.algorithm.find(vector.name);
            if (found != saved.algorithm.end()) std::ranges::copy(found->second, vector.values.begin());
        }
        algorithm.set_round(saved.round);
        if (trainer_) {
            for (const auto& vector : trainer_->optimizer_state()) {
                std::ranges::copy(saved.optimizer.at(vector.name), vector.values.begin());
            }
            trainer_->seek(saved.position);
        } else {
            toy_->set_step(saved.position.step);
        }
    }

  private:
    std::unique_ptr<ToyWorker> toy_;
    std::unique_ptr<model::Loader> loader_;
    std::unique_ptr<model::Trainer> trainer_;
    std::unique_ptr<federation::ReplicaWorker> real_;
};

class Member::SavingObserver : public federation::Observer {
  public:
    SavingObserver(Member& member, Replica& replica, gossip::Host& host)
        : member_(member), replica_(replica), host_(host) {}

    Status on_step(const federation::StepResult& result, std::uint64_t) override {
        member_.result_.tokens += result.tokens;
        return {};
    }
    Status on_round(const federation::RoundReport& report, federation::Algorithm& algorithm) override {
        member_.result_.rounds = report.round;
        member_.result_.steps = report.step;
        member_.result_.train_loss = report.train_loss;
        member_.result_.rounds_incomplete += report.average.complete ? 0 : 1;
        for (const auto& reason : report.average.reasons) {
            log::debug("node {} round {}: {}", member_.node_, report.round, reason);
        }
        ATOLL_TRY(persist(algorithm));
        member_.listener_(member_.node_, report, host_.now());
        return {};
    }
    Status persist(federation::Algorithm& algorithm) override {
        replica_.save(*member_.saved_, algorithm);
        return {};
    }

  private:
    Member& member_;
    Replica& replica_;
    gossip::Host& host_;
};

Member::Member(const World& world, std::size_t node, const gossip::Identity& identity,
               const RoundListener& listener)
    : world_(world),
      node_(node),
      identity_(identity),
      listener_(listener),
      saved_(std::make_unique<Saved>()) {}

Member::~Member() = default;

void Member::run(std::uint64_t incarnation, gossip::Host& host) {
    result_.finished = false;
    result_.status = train(incarnation, host);
    result_.finished = true;
    if (!result_.status) log::warn("node {}: {}", node_, result_.status.error().message);
}

federation::SessionOptions Member::session_options() const {
    federation::SessionOptions options;
    if (world_.trace != nullptr) {
        options.spans = [this](std::string_view track, std::string_view name, double begin, double end) {
            world_.trace->span(node_, track, name, begin, end);
        };
    }
    return options;
}

Status Member::train(std::uint64_t incarnation, gossip::Host& host) {
    ATOLL_ASSIGN(const std::unique_ptr<Replica> replica, Replica::make(world_, node_));
    TimedWorker worker(replica->worker(), host,
                       world_.scenario.simulation.step_seconds * world_.scenario.slowness[node_]);
    if (incarnation == 0) {
        ATOLL_ASSIGN(result_.val_loss_start, worker.validation_loss());
    }
    ATOLL_ASSIGN(const std::unique_ptr<federation::Session> session,
                 federation::Session::make(world_.scenario.run, worker, host, session_options()));
    if (saved_->valid) replica->restore(*saved_, session->algorithm());

    std::unique_ptr<gossip::Membership> membership;
    std::unique_ptr<gossip::Activity> membership_activity;
    if (!world_.certificates.empty()) {
        gossip::MembershipOptions options;
        options.dead_seconds = world_.scenario.simulation.detect_seconds;
        options.region = world_.scenario.site_of(node_).name;
        membership =
            std::make_unique<gossip::Membership>(identity_, world_.authority, world_.certificates[node_],
                                                 name_of(node_), address_of(node_), incarnation + 1, options);
        std::vector<Bytes> records;
        for (std::size_t other = 0; other < world_.peers.size(); ++other) {
            if (other != node_) records.push_back(world_.records[other]);
        }
        gossip::carry_out(host, membership->learn(records, {host.now(), host.unix_time()}));
        membership_activity = host.spawn(
            "membership", [&host, &members = *membership] { gossip::run_membership(host, members); });
    }

    SavingObserver observer(*this, *replica, host);
    const StopToken never;
    const Status status = session->run(
        observer, never, incarnation == 0 ? federation::JoinMode::first : federation::JoinMode::late);
    stop(host);
    if (membership_activity) membership_activity->join();
    membership_activity.reset();
    ATOLL_TRY(status);
    final_parameters_.assign(worker.parameters().begin(), worker.parameters().end());
    ATOLL_ASSIGN(result_.val_loss, worker.validation_loss());
    return {};
}

}  // namespace Atoll::sims
