#include "sims/experiment.h"

#include <fmt/core.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "base/log.h"
#include "base/rng.h"
#include "model/architecture.h"
#include "model/data/english.h"
#include "model/data/prepare.h"
#include "sims/member.h"
#include "sims/simulation.h"

namespace Atoll::sims {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kTimingStackBytes = 128U << 10U;  // no transformer on it: thousands of actors

// A folder of its own for the time of the experiment.
class ScratchFolder {
  public:
    ScratchFolder() : path_(fs::temp_directory_path() / fmt::format("atoll-sim-{}", ::getpid())) {}
    ~ScratchFolder() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;
    [[nodiscard]] const fs::path& path() const { return path_; }

  private:
    fs::path path_;
};

Result<std::string> prepare_builtin_data(const Scenario& scenario, const fs::path& scratch) {
    model::PrepareOptions options;
    ATOLL_ASSIGN(options.inputs, model::write_english_text(scratch / "text"));
    options.out = scratch / "tokens";
    options.tokenizer = scenario.run.data.tokenizer;
    options.held_out = scenario.run.data.held_out;
    ATOLL_TRY(model::prepare_data(options));
    return options.out.string();
}

gossip::Identity identity_of(std::uint64_t seed, std::size_t node) {
    Rng rng = Rng(seed).split("simulated identity", node);
    Bytes bytes(gossip::Identity::kSeedBytes);
    for (auto& byte : bytes) byte = static_cast<std::byte>(rng.bits32() & 255U);
    return gossip::Identity::from_seed(bytes);
}

class Experiment {
  public:
    Experiment(Scenario scenario, const ExperimentOptions& options)
        : scenario_(std::move(scenario)), options_(options), ops_(kernels::make_cpu_ops(options.threads)) {}

    Result<std::string> run() {
        const auto start = std::chrono::steady_clock::now();
        if (options_.timing_only) {
            scenario_.simulation.worker = "quadratic";
            scenario_.simulation.membership = "oracle";
        }
        world_.toys = scenario_.simulation.worker == "quadratic";
        if (!world_.toys) {
            world_.data = scenario_.simulation.data;
            if (world_.data == "builtin") {
                ATOLL_ASSIGN(world_.data, prepare_builtin_data(scenario_, scratch_.path()));
            }
        }
        if (!options_.trace.empty()) world_.trace = &trace_;
        make_members();
        simulate();
        if (!options_.trace.empty()) ATOLL_TRY(trace_.write(options_.trace));
        ATOLL_TRY(first_failure());
        wall_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        return report();
    }

  private:
    [[nodiscard]] std::uint64_t seed() const { return static_cast<std::uint64_t>(scenario_.run.run.seed); }
    [[nodiscard]] std::size_t model_size() const { return model::make_layout(scenario_.run.model).size(); }

    void make_members() {
        const std::size_t nodes = scenario_.nodes();
        for (std::size_t node = 0; node < nodes; ++node) {
            identities_.push_back(identity_of(seed(), node));
            world_.peers.push_back(identities_.back().id());
        }
        if (scenario_.simulation.membership == "gossip") {
            const gossip::Identity owner = identity_of(seed(), nodes);
            world_.authority = {federation::run_id(scenario_.run), owner.id()};
            for (std::size_t node = 0; node < nodes; ++node) {
                world_.certificates.push_back(
                    gossip::certify_first(owner, world_.authority.run, world_.peers[node],
                                          std::numeric_limits<std::uint32_t>::max()));
                world_.records.push_back(record_of(identities_[node], world_.certificates[node], node));
            }
        }
        for (std::size_t node = 0; node < nodes; ++node) {
            members_.push_back(std::make_unique<Member>(world_, node, identities_[node], listener_));
            trace_.name_process(node, fmt::format("node {} ({})", node, scenario_.site_of(node).name));
        }
    }

    void simulate() {
        Simulation::Options options;
        options.loss = scenario_.network.loss;
        options.seed = seed();
        options.seconds_max = scenario_.simulation.seconds_max;
        options.peers = world_.peers;
        if (options_.timing_only) {
            options.payload_scale =
                static_cast<double>(model_size()) / static_cast<double>(scenario_.simulation.toy_parameters);
            options.stack_bytes = kTimingStackBytes;
        }
        Simulation simulation(scenario_, options);
        const bool oracle = world_.certificates.empty();
        if (oracle) simulation.at(0, [&] { tell_view(simulation); });
        virtual_seconds_ = simulation.run(
            [&](std::size_t node, std::uint64_t incarnation, gossip::Host& host) {
                members_[node]->run(incarnation, host);
            },
            [&](const Fault& fault, double seconds) {
                faults_.push_back(
                    {{"seconds", seconds}, {"node", fault.node}, {"action", fault.on ? "on" : "off"}});
                if (!options_.quiet)
                    log::info("{:9.2f} s: node {} is {}", seconds, fault.node, fault.on ? "on" : "off");
                if (!oracle) return;
                if (fault.on) simulation.post(fault.node, gossip::ViewChanged{present(simulation)});
                simulation.at(seconds + scenario_.simulation.detect_seconds, [&] { tell_view(simulation); });
            });
        totals_ = simulation.totals();
        for (std::size_t node = 0; node < members_.size(); ++node) on_.push_back(simulation.is_on(node));
    }

    // The oracle: who is on now, told to everyone who is.
    void tell_view(Simulation& simulation) {
        const gossip::View view = present(simulation);
        for (std::size_t node = 0; node < members_.size(); ++node)
            simulation.post(node, gossip::ViewChanged{view});
    }

    gossip::View present(const Simulation& simulation) {
        gossip::View view;
        view.epoch = ++epoch_;
        view.reason = "told by the oracle";
        std::map<gossip::PeerId, std::string> regions;
        for (std::size_t node = 0; node < members_.size(); ++node) {
            if (simulation.is_on(node)) regions[world_.peers[node]] = scenario_.site_of(node).name;
        }
        for (auto& [peer, region] : regions) {
            view.members.push_back(peer);
            view.regions.push_back(std::move(region));
        }
        return view;
    }

    void on_round(std::size_t node, const federation::RoundReport& report, double seconds) {
        auto& point = curve_[report.round];
        point.loss += report.train_loss;
        point.seconds = std::max(point.seconds, seconds);
        if (++point.members == 1 && !options_.quiet) {
            log::info("{:9.2f} s: node {} ended round {} of {}, loss {:.4f}", seconds, node, report.round,
                      scenario_.run.run.rounds, report.train_loss);
        }
    }

    [[nodiscard]] Status first_failure() const {
        for (std::size_t node = 0; node < members_.size(); ++node) {
            const MemberResult& result = members_[node]->result();
            if (!on_[node]) continue;
            if (!result.finished) {
                return Error{ErrorCode::failed,
                             fmt::format("node {} had not finished after {} virtual seconds (round {}); "
                                         "raise simulation.seconds_max",
                                         node, scenario_.simulation.seconds_max, result.rounds)};
            }
            if (!result.status) return result.status.error().within(fmt::format("node {}", node));
        }
        return {};
    }

    // Root mean square distance of the replicas from their mean, relative to the mean's norm.
    [[nodiscard]] double consensus_distance() const {
        std::vector<double> mean;
        double count = 0;
        for (const auto& member : members_) {
            const auto parameters = member->parameters();
            if (parameters.empty()) continue;
            mean.resize(parameters.size());
            for (std::size_t i = 0; i < parameters.size(); ++i) mean[i] += static_cast<double>(parameters[i]);
            count += 1;
        }
        if (count == 0) return 0;
        double norm = 0;
        for (double& value : mean) {
            value /= count;
            norm += value * value;
        }
        double distance = 0;
        for (const auto& member : members_) {
            const auto parameters = member->parameters();
            for (std::size_t i = 0; i < parameters.size(); ++i) {
                const double difference = static_cast<double>(parameters[i]) - mean[i];
                distance += difference * difference;
            }
        }
        return norm > 0 ? std::sqrt(distance / count / norm) : 0;
    }

    [[nodiscard]] std::string report() const {
        double train_loss = 0;
        double val_loss = 0;
        double val_loss_start = 0;
        double bytes = 0;
        double count = 0;
        std::uint64_t tokens = 0;
        std::uint64_t incomplete = 0;
        std::uint64_t rounds = 0;
        std::uint64_t steps = 0;
        for (std::size_t node = 0; node < members_.size(); ++node) {
            const MemberResult& result = members_[node]->result();
            bytes += static_cast<double>(totals_.traffic[node].bytes_sent);
            tokens += result.tokens;
            incomplete += result.rounds_incomplete;
            if (!result.finished) continue;
            rounds = std::max(rounds, result.rounds);
            steps = std::max(steps, result.steps);
            train_loss += result.train_loss;
            val_loss += result.val_loss;
            val_loss_start += result.val_loss_start;
            count += 1;
        }
        const auto nodes = static_cast<double>(members_.size());
        // Ring all-reduce of fp32 gradients in every step: 2 (n-1)/n of the vector each way.
        const double data_parallel =
            2 * (nodes - 1) / nodes * 4 * static_cast<double>(model_size()) * static_cast<double>(steps);
        nlohmann::json curve = nlohmann::json::array();
        for (const auto& [round, point] : curve_) {
            curve.push_back({{"round", round},
                             {"virtual_seconds", point.seconds},
                             {"train_loss", point.loss / point.members},
                             {"members", point.members}});
        }
        const nlohmann::json object = {
            {"name", scenario_.simulation.name},
            {"nodes", members_.size()},
            {"rounds", rounds},
            {"steps", steps},
            {"tokens", tokens},
            {"virtual_seconds", virtual_seconds_},
            {"wall_seconds", wall_seconds_},
            {"train_loss", train_loss / count},
            {"val_loss_start", val_loss_start / count},
            {"val_loss", val_loss / count},
            {"consensus_distance", consensus_distance()},
            {"bytes_per_node", bytes / nodes},
            {"bytes_data_parallel", data_parallel},
            {"traffic_ratio", bytes > 0 ? data_parallel / (bytes / nodes) : 0},
            {"rounds_incomplete", incomplete},
            {"messages_delivered", totals_.messages_delivered},
            {"messages_lost", totals_.messages_lost},
            {"faults", faults_},
            {"curve", curve},
            {"timing_only", options_.timing_only},
            {"trace_hash", to_hex(totals_.trace)},
        };
        return object.dump();
    }

    struct Point {
        double loss = 0;
        double seconds = 0;
        int members = 0;
    };

    Scenario scenario_;
    ExperimentOptions options_;
    std::unique_ptr<kernels::Ops> ops_;
    ScratchFolder scratch_;
    World world_{scenario_, *ops_, "", false, {}, {}, {}, {}, nullptr};
    ChromeTrace trace_;
    std::vector<gossip::Identity> identities_;
    RoundListener listener_ = [this](std::size_t node, const federation::RoundReport& report,
                                     double seconds) { on_round(node, report, seconds); };
    std::vector<std::unique_ptr<Member>> members_;
    std::vector<bool> on_;
    std::map<std::uint64_t, Point> curve_;
    nlohmann::json faults_ = nlohmann::json::array();
    Simulation::Totals totals_;
    std::uint64_t epoch_ = 0;
    double virtual_seconds_ = 0;
    double wall_seconds_ = 0;
};

}  // namespace

Result<std::string> run_experiment(Scenario scenario, const ExperimentOptions& options) {
    return Experiment(std::move(scenario), options).run();
}

}  // namespace Atoll::sims
