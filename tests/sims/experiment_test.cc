// Whole scenarios with toy workers: the algorithms of the network, on the simulated one.
#include "sims/experiment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <numeric>

#include "base/log.h"
#include "base/options.h"
#include "federation/algorithm/algorithm.h"
#include "model/architecture.h"
#include "tests/sims/in_child.h"

namespace Atoll::sims {
namespace {

// Runs a scenario file of sims/scenario with changes; returns the JSON object.
nlohmann::json run_file(const std::string& file, const std::vector<std::string>& changes,
                        bool timing_only = false) {
    const std::string said = in_child([&]() -> std::string {
        log::configure(log::Level::error);
        Scenario scenario;
        Options options;
        bind(options, scenario);
        Status status = options.load_file(std::string(ATOLL_SOURCE_DIR) + "/sims/scenario/" + file);
        for (const auto& change : changes) {
            if (status) status = options.set_assignment(change, "test");
        }
        if (status) status = resolve(scenario);
        if (!status) return nlohmann::json{{"error", status.error().message}}.dump();
        const auto result = run_experiment(scenario, {.timing_only = timing_only, .quiet = true});
        return result ? *result : nlohmann::json{{"error", result.error().message}}.dump();
    });
    nlohmann::json object = nlohmann::json::parse(said, nullptr, false);
    EXPECT_TRUE(object.is_object() && !object.contains("error")) << said;
    return object;
}

const std::vector<std::string> kCalm = {"network.loss=0", "faults.script=[]", "simulation.slow=[]"};

std::vector<std::string> calm_and(std::vector<std::string> more) {
    more.insert(more.begin(), kCalm.begin(), kCalm.end());
    return more;
}

TEST(Experiment, A_calm_run_completes_every_round_and_agrees) {
    const auto result = run_file("churn.toml", calm_and({"codec.name=none"}));
    EXPECT_EQ(result["rounds"], 20);
    EXPECT_EQ(result["rounds_incomplete"], 0);
    EXPECT_EQ(result["messages_lost"], 0);
    // 8 = 2^3 members, fp32 shares: the one-peer exponential graph averages exactly, so replicas are equal
    // but for rounding.
    EXPECT_LT(result["consensus_distance"], 1e-6);
    EXPECT_LT(result["val_loss"], 0.25 * result["val_loss_start"].get<double>());
    // 600 steps of 0.1 s, and twenty exchanges in three stages that take at least the latency each.
    EXPECT_GT(result["virtual_seconds"], 60 + 20 * 3 * 0.030);
    EXPECT_LT(result["virtual_seconds"], 60 + 20 * 3 * 0.5);
}

TEST(Experiment, Quantised_gossip_stays_close_to_the_exact_run) {
    const auto exact = run_file("churn.toml", calm_and({"codec.name=none"}));
    const auto quantised = run_file("churn.toml", calm_and({"codec.name=int8_block"}));
    EXPECT_LT(quantised["consensus_distance"], 0.01);
    EXPECT_NEAR(quantised["val_loss"], exact["val_loss"].get<double>(),
                0.02 * exact["val_loss_start"].get<double>());
    EXPECT_LT(quantised["bytes_per_node"], 0.5 * exact["bytes_per_node"].get<double>());
}

TEST(Experiment, Churn_and_loss_end_in_reasons_not_in_hangs) {
    const auto quiet = run_file("churn.toml", kCalm);
    const auto churned = run_file("churn.toml", {});
    EXPECT_EQ(churned["rounds"], 20);
    EXPECT_EQ(churned["faults"].size(), 5U);
    EXPECT_GT(churned["rounds_incomplete"], 0);
    EXPECT_GT(churned["messages_lost"], 0);
    EXPECT_LT(churned["val_loss"],
              quiet["val_loss"].get<double>() + 0.05 * quiet["val_loss_start"].get<double>());
    EXPECT_LT(churned["consensus_distance"], 0.3);
}

// Machines are switched off in the middle of everything that an algorithm does at the same time.
TEST(Experiment, Every_algorithm_survives_machines_that_go_and_come) {
    for (const auto& entry : federation::algorithms()) {
        std::vector<std::string> changes = {"algorithm.name=" + std::string(entry.name)};
        if (entry.name.find("dsgd") != std::string_view::npos || entry.name == "gradient_tracking") {
            const bool momentum = entry.name.find("dsgdm") != std::string_view::npos;
            changes.insert(changes.end(), {"optimizer.name=sgd", "optimizer.weight_decay=0",
                                           momentum ? "optimizer.beta1=0.5" : "optimizer.beta1=0"});
        }
        if (entry.name == "decomfl" || entry.name == "fedkseed") {
            // One direction of a thousand a step: a thousandth of the rate along the gradient.
            changes.insert(changes.end(),
                           {"optimizer.name=mezo", "optimizer.learning_rate=0.001",
                            "optimizer.clip_norm=1000", "averaging.name=all_reduce", "codec.name=none",
                            "schedule.name=constant", "schedule.warmup_steps=0"});
        }
        if (entry.defaults != nullptr) changes.emplace_back("schedule.warmup_steps=0");
        // Their rounds are single steps, and the last machine goes at 50 s.
        if (entry.name == "demo" || entry.name == "sparta") changes.emplace_back("run.rounds=100");
        if (entry.served) {
            changes.insert(changes.end(), {"averaging.name=star", "optimizer.name=sgd", "optimizer.beta1=0",
                                           "optimizer.weight_decay=0"});
        }
        if (entry.steps_itself) {  // with an exchange every step
            changes.insert(changes.end(),
                           {"algorithm.inner_steps=5", "averaging.name=all_reduce", "codec.name=bf16"});
        }
        if (entry.name == "distributed_lion") {
            changes.insert(changes.end(), {"optimizer.name=lion", "codec.name=none"});
        }
        const auto churned = run_file("churn.toml", changes);
        EXPECT_EQ(churned["faults"].size(), 5U) << entry.name;
        EXPECT_LT(churned["val_loss"], churned["val_loss_start"]) << entry.name;
    }
}

// Unequal machines on slow links: rounds of H steps are as slow as the slowest machine, those of H_w steps
// take the same time everywhere, and an exchange that runs beside the inner steps costs next to nothing.
TEST(Experiment, Dynamic_steps_and_overlap_save_the_time_that_unequal_machines_and_slow_links_cost) {
    const std::vector<std::string> diloco = {"algorithm.name=diloco", "algorithm.fragments=0",
                                             "algorithm.dynamic_steps=false"};
    const auto waiting = run_file("unequal_islands.toml", diloco);
    const auto unequal = run_file("unequal_islands.toml", {});
    // 20 rounds of 20 steps: of 0.4 s at the slowest node, or of 0.1 s for the same time at each.
    EXPECT_GT(waiting["virtual_seconds"], 20 * 20 * 0.4);
    EXPECT_LT(unequal["virtual_seconds"], 20 * 20 * 0.1 * 1.5);
    EXPECT_EQ(unequal["rounds"], 20);
    EXPECT_EQ(unequal["rounds_incomplete"], 0);
    EXPECT_LT(unequal["val_loss"], 0.1 * unequal["val_loss_start"].get<double>());
    EXPECT_EQ(unequal["consensus_distance"], 0);  // they end together

    const std::vector<std::string> equal = {"simulation.slow=[]", "algorithm.dynamic_steps=false"};
    const auto with = [&](std::vector<std::string> changes) {
        changes.insert(changes.end(), equal.begin(), equal.end());
        return run_file("unequal_islands.toml", changes);
    };
    const auto blocking = with({"algorithm.name=diloco", "algorithm.fragments=0"});
    const auto streaming = with({"algorithm.name=streaming_diloco", "algorithm.overlap_steps=4"});
    const double compute = 20 * 20 * 0.1;
    EXPECT_GT(blocking["virtual_seconds"], compute + 20 * 0.25);
    EXPECT_LT(streaming["virtual_seconds"], compute + 0.5);  // the last exchange has nothing to hide behind
    EXPECT_EQ(streaming["rounds"], 19 * 4 + 1);
    EXPECT_EQ(streaming["rounds_incomplete"], 0);
    const auto decoupled = with({"algorithm.name=decoupled_diloco"});
    EXPECT_LT(decoupled["virtual_seconds"], compute + 5);
    EXPECT_LT(decoupled["val_loss"], 0.1 * decoupled["val_loss_start"].get<double>());
}

// What is left of the quadratic's loss after so many steps along P random directions each, in the mean over
// the directions and from a mean square distance of 1: with g = c d for a distance d to the minimum, E[(P^-1
// sum_p z_p z_p' g)_j^2] = (1 + 1 / P) g_j^2 + |g|^2 / P.
double left_by_random_directions(int parameters, int directions, double rate, int steps) {
    std::vector<double> curvature, square(static_cast<std::size_t>(parameters), 1.0);
    for (int j = 0; j < parameters; ++j) curvature.push_back(0.1 + 0.9 * j / (parameters - 1));
    const double start = std::accumulate(curvature.begin(), curvature.end(), 0.0);
    for (int step = 0; step < steps; ++step) {
        double gradient = 0;
        for (std::size_t j = 0; j < square.size(); ++j) gradient += curvature[j] * curvature[j] * square[j];
        for (std::size_t j = 0; j < square.size(); ++j) {
            const double c = curvature[j];
            square[j] += -2 * rate * c * square[j] +
                         rate * rate * ((1 + 1.0 / directions) * c * c * square[j] + gradient / directions);
        }
    }
    return std::inner_product(curvature.begin(), curvature.end(), square.begin(), 0.0) / start;
}

TEST(Experiment, Tuning_by_scalars_keeps_replicas_equal_to_the_bit_through_loss_and_churn) {
    const auto left = [](const nlohmann::json& result) {
        return result["val_loss"].get<double>() / result["val_loss_start"].get<double>();
    };
    const double expected = left_by_random_directions(200, 10, 0.03, 60 * 4);
    const auto calm = run_file("seeds_and_scalars.toml", calm_and({"simulation.toy_heterogeneity=0"}));
    EXPECT_EQ(calm["rounds_incomplete"], 0);
    EXPECT_GT(left(calm), 0.5 * expected);
    EXPECT_LT(left(calm), 2 * expected);

    const auto result = run_file("seeds_and_scalars.toml", {});
    EXPECT_EQ(result["rounds"], 60);
    EXPECT_EQ(result["faults"].size(), 4U);
    EXPECT_GT(result["messages_lost"], 0);
    EXPECT_EQ(result["consensus_distance"], 0);
    // The members' minima lie apart, and so does their mean from what the held-out loss is measured against.
    EXPECT_LT(left(result), 2 * (expected + 0.2 * 0.2 / 8));
    // What is sent does not depend on the number of parameters.
    const auto larger =
        run_file("seeds_and_scalars.toml", calm_and({"run.rounds=3", "simulation.toy_parameters=4000"}));
    const auto smaller = run_file("seeds_and_scalars.toml", calm_and({"run.rounds=3"}));
    EXPECT_EQ(larger["bytes_per_node"], smaller["bytes_per_node"]);
}

TEST(Experiment, The_same_scenario_gives_the_same_trace) {
    const auto first = run_file("churn.toml", {"run.rounds=12"});
    EXPECT_EQ(first["trace_hash"], run_file("churn.toml", {"run.rounds=12"})["trace_hash"]);
    EXPECT_NE(first["trace_hash"], run_file("churn.toml", {"run.rounds=12", "run.seed=2"})["trace_hash"]);
}

TEST(Experiment, Timing_only_counts_the_bytes_of_the_real_model) {
    const auto result = run_file(
        "thousand_nodes.toml",
        {"network.sites=[\"home 8 100 10\"]", "network.routes=[]", "faults.script=[]", "run.members_min=8",
         "run.rounds=2", "model.preset=tiny", "codec.name=none", "algorithm.anchor_slices=0"},
        true);
    const double model =
        static_cast<double>(model::make_layout(model::model_preset("tiny").value()).size()) * 4;
    // Three stages a round, the whole vector in fp32 each; envelopes and receipts on top.
    EXPECT_GT(result["bytes_per_node"], 2 * 3 * model);
    EXPECT_LT(result["bytes_per_node"], 2 * 3 * model * 1.02);
    // Each stage takes at least the vector over the access link.
    EXPECT_GT(result["virtual_seconds"], 2 * 100 + 2 * 3 * model / (100e6 / 8));
}

TEST(Experiment, Acco_hides_the_exchange_that_data_parallel_waits_for) {
    const auto hidden = run_file("overlap.toml", {}, true);
    const auto waited = run_file("overlap.toml", {"algorithm.name=data_parallel"}, true);
    const auto seconds_a_batch = [](const nlohmann::json& result) {
        // Batches of one sequence of the preset's context, by four members.
        const double tokens = result["tokens"].get<double>();
        const double context = static_cast<double>(model::model_preset("diloco-35m").value().context);
        return result["virtual_seconds"].get<double>() / (tokens / (4 * context));
    };
    EXPECT_EQ(hidden["steps"], 20);
    EXPECT_EQ(waited["steps"], 20);
    EXPECT_EQ(hidden["rounds_incomplete"], 0);
    EXPECT_EQ(waited["rounds_incomplete"], 0);
    // A batch takes a second; bf16 gradients and fp32 parameters of 35M take longer than one over 1 Gb/s.
    EXPECT_LT(seconds_a_batch(hidden), 1.1);
    EXPECT_GT(seconds_a_batch(waited), 2);
    const double vector =
        static_cast<double>(model::make_layout(model::model_preset("diloco-35m").value()).size());
    EXPECT_NEAR(waited["bytes_per_node"].get<double>() / (20 * 6 * 0.75 * vector), 1, 0.02);
    EXPECT_NEAR(hidden["bytes_per_node"].get<double>() / (40 * 6 * 0.75 * vector), 1, 0.02);
}

}  // namespace
}  // namespace Atoll::sims
