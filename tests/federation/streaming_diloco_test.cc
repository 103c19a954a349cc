// Streaming DiLoCo against DiLoCo, its own schedule and a recursion in double precision; and its overlap in
// virtual time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "federation/fragments.h"
#include "model/architecture.h"
#include "tests/federation/member_cluster.h"
#include "tests/federation/saved_member.h"

namespace Atoll::federation {
namespace {

using federation::testing::Cluster;
using federation::testing::copy;
using federation::testing::distance;
using federation::testing::QuadraticWorker;
using federation::testing::SavedMember;
using federation::testing::small_run;
using ::testing::HasSubstr;

RunConfig streaming_run(std::int64_t fragments, std::int64_t overlap, double mixing) {
    RunConfig config = small_run();
    config.algorithm.name = "streaming_diloco";
    config.algorithm.fragments = fragments;
    config.model.layers = 4;
    config.algorithm.overlap_steps = overlap;
    config.algorithm.mixing = mixing;
    config.algorithm.inner_steps = 8;
    config.topology.name = "full";
    return config;
}

Cluster::MakeWorker noisy(double noise = 0.5) {
    return [noise](std::size_t i) {
        return std::make_unique<QuadraticWorker>(
            QuadraticWorker::Options{.noise = noise, .noise_seed = 100 + i});
    };
}

TEST(StreamingDiloco, One_fragment_without_overlap_and_mixing_is_diloco_bit_for_bit) {
    for (const char* codec : {"none", "int8_block", "e3m0"}) {
        RunConfig config = streaming_run(1, 0, 0);
        config.codec.name = codec;
        config.codec.error_feedback = true;
        config.topology.name = "one_peer_exponential";
        Cluster streaming(config, 4, noisy());
        ASSERT_TRUE(streaming.run_all());
        config.algorithm = small_run().algorithm;
        config.algorithm.inner_steps = 8;
        Cluster diloco(config, 4, noisy());
        ASSERT_TRUE(diloco.run_all());
        for (std::size_t m = 0; m < 4; ++m) {
            EXPECT_EQ(copy(streaming.parameters(m)), copy(diloco.parameters(m))) << codec;
            EXPECT_EQ(streaming.network().host(m).traffic().bytes_sent,
                      diloco.network().host(m).traffic().bytes_sent);
        }
    }
}

TEST(StreamingDiloco, Mixing_of_one_is_training_alone) {
    RunConfig config = streaming_run(2, 1, 1);
    Cluster cluster(config, 2, noisy());
    std::vector<float> before_end;
    cluster[0].record.at_step = [&](std::uint64_t step) {
        if (step == 64) before_end = copy(cluster.parameters(0));
    };
    ASSERT_TRUE(cluster.run_all());
    auto alone = noisy()(0);
    for (int i = 0; i < 64; ++i) ASSERT_TRUE(alone->inner_step().ok());
    EXPECT_EQ(before_end, copy(alone->parameters()));
}

TEST(StreamingDiloco, Every_fragment_is_exchanged_once_every_H_steps) {
    Cluster cluster(streaming_run(4, 1, 0.5), 2, noisy());
    ASSERT_TRUE(cluster.run_all());
    const auto& rounds = cluster[0].record.rounds;
    ASSERT_EQ(rounds.size(), 7U * 4U + 1U);
    for (std::size_t e = 0; e + 1 < rounds.size(); ++e) {
        EXPECT_EQ(rounds[e].step, 8 + 2 * e + 1) << e;  // sent at 8 + e H / P, applied a step later
        EXPECT_TRUE(rounds[e].average.complete);
    }
    EXPECT_EQ(rounds.back().step, 64U);
}

// Bytes of an exchange fall with P; those of H steps do not depend on it.
TEST(StreamingDiloco, Peak_traffic_is_divided_by_the_fragments_and_the_sum_is_not) {
    std::vector<double> sums;
    for (const std::int64_t fragments : {1, 2, 4}) {
        RunConfig config = streaming_run(fragments, 1, 0.5);
        config.algorithm.anchor_slices = 0;
        config.run.rounds = 5;
        Cluster cluster(config, 2, [](std::size_t i) {
            return std::make_unique<QuadraticWorker>(
                QuadraticWorker::Options{.parameters = 1024, .noise = 0.5, .noise_seed = 100 + i});
        });
        ASSERT_TRUE(cluster.run_all());
        double sum = 0;
        for (const auto& report : cluster[0].record.rounds) {
            EXPECT_EQ(report.average.bytes_sent, 4096U / static_cast<std::uint64_t>(fragments));
            sum += static_cast<double>(report.average.bytes_sent);
        }
        sums.push_back(sum -
                       4096 / static_cast<double>(fragments));  // four periods; the last exchange is one more
    }
    EXPECT_EQ(sums[1], sums[0]);
    EXPECT_EQ(sums[2], sums[0]);
}

// The recursion once more in double: P = 2, tau = 2, alpha = 0.5, Nesterov, three members, exact means.
TEST(StreamingDiloco, Follows_its_recursion_in_double_precision) {
    const RunConfig config = streaming_run(2, 2, 0.5);
    const auto make = [](std::size_t i) {
        return std::make_unique<QuadraticWorker>(QuadraticWorker::Options{.minimum_seed = 1 + i});
    };
    Cluster cluster(config, 3, make);
    std::vector<std::vector<float>> seen(3);
    for (std::size_t m = 0; m < 3; ++m) {
        cluster[m].record.at_step = [&, m](std::uint64_t step) {
            if (step == 61) seen[m] = copy(cluster.parameters(m));
        };
    }
    ASSERT_TRUE(cluster.run_all());

    constexpr std::size_t kSize = 64;
    std::vector<std::vector<double>> theta(3, std::vector<double>(kSize)), sent = theta;
    std::vector<double> anchor(kSize), u(kSize);
    for (int t = 1; t <= 61; ++t) {
        for (std::size_t m = 0; m < 3; ++m) {
            const auto worker = make(m);
            for (std::size_t j = 0; j < kSize; ++j) {
                const double curvature = 0.1 + 0.9 * static_cast<double>(j % 10) / 9;
                theta[m][j] -= 0.1 * curvature * (theta[m][j] - static_cast<double>(worker->minimum()[j]));
            }
        }
        for (int p = 0; p < 2; ++p) {
            for (std::size_t j = static_cast<std::size_t>(p) * 32; j < static_cast<std::size_t>(p + 1) * 32;
                 ++j) {
                if (t >= 8 + 4 * p && (t - 4 * p) % 8 == 0) {
                    for (std::size_t m = 0; m < 3; ++m) sent[m][j] = anchor[j] - theta[m][j];
                }
                if (t >= 10 + 4 * p && (t - 2 - 4 * p) % 8 == 0) {
                    const double delta = (sent[0][j] + sent[1][j] + sent[2][j]) / 3;
                    u[j] = 0.9 * u[j] + delta;
                    anchor[j] -= 0.7 * (delta + 0.9 * u[j]);
                    for (std::size_t m = 0; m < 3; ++m) theta[m][j] = 0.5 * theta[m][j] + 0.5 * anchor[j];
                }
            }
        }
    }
    double scale = 0;
    for (const double x : anchor) scale = std::max(scale, std::abs(x));
    for (std::size_t m = 0; m < 3; ++m) {
        for (std::size_t j = 0; j < kSize; ++j)
            EXPECT_NEAR(seen[m][j], theta[m][j], 1e-5 * scale) << m << " " << j;
    }
}

// 4 KiB at 200 KB/s take 20 ms, two inner steps of 10 ms: with an overlap of three steps they cost nothing.
TEST(StreamingDiloco, An_exchange_hides_behind_the_inner_steps) {
    const auto seconds = [](std::int64_t overlap, double* waited) {
        RunConfig config = streaming_run(1, overlap, 0);
        config.algorithm.anchor_slices = 0;
        Cluster cluster(config, 2,
                        [](std::size_t i) {
                            return std::make_unique<QuadraticWorker>(QuadraticWorker::Options{
                                .parameters = 1024, .noise = 0.1, .noise_seed = 100 + i});
                        },
                        {.bytes_per_second = 200e3});
        double end = 0;
        cluster[0].after = [&](Session&) { end = cluster.network().now(); };
        EXPECT_TRUE(cluster.run_all());
        *waited = 0;
        for (const auto& report : cluster[0].record.rounds) {
            EXPECT_TRUE(report.average.complete);
            EXPECT_GT(report.average.seconds, 0.02);
            *waited += report.exchange_seconds;
        }
        return end;
    };
    double waited = 0;
    const double blocking = seconds(0, &waited);
    EXPECT_GT(waited, 8 * 0.02);
    EXPECT_NEAR(blocking, 0.64 + waited, 1e-6);
    const double overlapped = seconds(3, &waited);
    EXPECT_LT(waited, 0.025);  // the last exchange alone, after the last step
    EXPECT_NEAR(overlapped, 0.64 + waited, 1e-6);
}

TEST(StreamingDiloco, Four_bits_of_e3m0_lose_little) {
    RunConfig config = streaming_run(2, 1, 0.5);
    config.run.rounds = 30;
    Cluster exact(config, 3, noisy(0.1));
    ASSERT_TRUE(exact.run_all());
    config.codec.name = "e3m0";
    config.codec.error_feedback = true;
    Cluster coarse(config, 3, noisy(0.1));
    ASSERT_TRUE(coarse.run_all());
    const auto start = QuadraticWorker({}).validation_loss();
    const double exact_loss = exact[0].worker->validation_loss().value();
    const double coarse_loss = coarse[0].worker->validation_loss().value();
    EXPECT_LT(exact_loss, 0.02 * start.value());
    EXPECT_NEAR(coarse_loss, exact_loss, 0.01 * start.value());
}

// Stopped at any point, between exchanges, while one is under way and before its outer step: the same bits.
TEST(StreamingDiloco, A_restart_goes_on_bit_for_bit) {
    RunConfig config = streaming_run(2, 2, 0.5);
    config.codec.name = "int8_block";
    config.codec.error_feedback = true;
    Cluster whole(config, 2, noisy());
    ASSERT_TRUE(whole.run_all());
    for (const std::uint64_t stop_step : {3U, 8U, 9U, 10U, 11U, 21U, 64U}) {
        Cluster first(config, 2, noisy());
        std::vector<SavedMember> saved(2);
        for (std::size_t m = 0; m < 2; ++m) {
            first[m].record.at_step = [&, m](std::uint64_t step) {
                if (step == stop_step) first[m].stop.request();
            };
            first[m].after = [&, m](Session& session) {
                saved[m] = SavedMember(session.algorithm(), *first[m].worker);
            };
        }
        ASSERT_TRUE(first.run_all());
        Cluster second(config, 2, noisy());
        for (std::size_t m = 0; m < 2; ++m) {
            second[m].before = [&, m](Session& session) {
                saved[m].restore(session.algorithm(), *second[m].worker);
            };
        }
        ASSERT_TRUE(second.run_all());
        for (std::size_t m = 0; m < 2; ++m) {
            ASSERT_TRUE(second[m].status->ok()) << second[m].status->error().message;
            EXPECT_EQ(copy(second.parameters(m)), copy(whole.parameters(m))) << "stopped after " << stop_step;
        }
    }
}

TEST(StreamingDiloco, A_late_joiner_takes_part_from_the_fragment_that_is_next) {
    RunConfig config = streaming_run(4, 1, 0.5);
    config.run.rounds = 30;
    Cluster cluster(config, 3, noisy());
    cluster[2].mode = JoinMode::late;
    cluster.start(0);
    cluster.start(1);
    cluster.network().announce_members_to(0, {0, 1}, "start");
    cluster.network().announce_members_to(1, {0, 1}, "start");
    cluster.network().at(1.0, [&] {
        cluster.start(2);
        cluster.network().announce_members("member 2 joined");
    });
    ASSERT_TRUE(cluster.network().run());
    for (std::size_t m = 0; m < 3; ++m)
        ASSERT_TRUE(cluster[m].status->ok()) << cluster[m].status->error().message;
    EXPECT_GT(cluster[2].record.rounds.front().round, 30U);
    EXPECT_EQ(cluster[2].worker->step(), 240U);
    EXPECT_EQ(cluster[0].record.rounds.back().average.members, 3U);
    EXPECT_TRUE(cluster[0].record.rounds.back().average.complete);
    EXPECT_LT(distance(cluster.parameters(2), cluster.parameters(0)), 0.05);
}

TEST(StreamingDiloco, What_does_not_fit_is_refused_with_both_keys) {
    const auto refusal = [](const RunConfig& config) {
        const Status status = validate(config);
        return status.ok() ? std::string() : status.error().message;
    };
    RunConfig config = streaming_run(4, 1, 0.5);
    EXPECT_EQ(refusal(config), "");
    config.algorithm.fragments = 5;
    EXPECT_THAT(refusal(config), HasSubstr("algorithm.fragments = 5 but model.layers = 4"));
    config = streaming_run(4, 2, 0.5);
    EXPECT_THAT(refusal(config),
                HasSubstr("algorithm.overlap_steps = 2 but algorithm.inner_steps = 8 and 4 fragments"));
    config = small_run();
    config.algorithm.fragments = 2;
    EXPECT_THAT(refusal(config),
                HasSubstr("algorithm.fragments = 2 but algorithm.name = diloco does not read it"));
    config = small_run();
    config.algorithm.outer_epsilon = 0.01;
    EXPECT_THAT(
        refusal(config),
        HasSubstr("algorithm.outer_epsilon = 0.01 but algorithm.outer_optimizer = nesterov does not"));
}

// ---- fragments ----

TEST(Fragments, Of_a_model_are_whole_blocks_strided_or_in_order) {
    for (const char* family : {"gpt2", "llama"}) {
        auto config = model::model_preset("tiny").value();
        config.family = family;
        config.layers = 6;
        config.qk_norm = false;
        const kernels::Layout layout = model::make_layout(config);
        for (const bool strided : {true, false}) {
            const auto fragments = make_fragments(layout, 3, strided);
            ASSERT_EQ(fragments.size(), 3U);
            std::vector<int> owner(layout.size(), -1);
            for (std::size_t p = 0; p < 3; ++p) {
                for (const FragmentRange& range : fragments[p]) {
                    for (std::size_t i = 0; i < range.size; ++i) {
                        EXPECT_EQ(owner[range.offset + i], -1);
                        owner[range.offset + i] = static_cast<int>(p);
                    }
                }
            }
            for (const auto& slot : layout.slots()) {
                for (std::size_t block = 0; block < 6; ++block) {
                    const std::string number = "." + std::to_string(block) + ".";
                    if (slot.name.find("layers" + number) == std::string::npos &&
                        slot.name.find("h" + number) == std::string::npos)
                        continue;
                    const std::size_t expected = strided ? block % 3 : block / 2;
                    EXPECT_EQ(owner[slot.offset], static_cast<int>(expected)) << slot.name;
                    EXPECT_EQ(owner[slot.offset + slot.size - 1], static_cast<int>(expected)) << slot.name;
                }
            }
            EXPECT_EQ(owner.front(), 0);  // embeddings: with the first block
            EXPECT_EQ(owner.back(), 2);   // last norm and head: with the last
        }
    }
}

TEST(Fragments, Of_a_vector_without_blocks_are_equal_runs_that_cover_it) {
    kernels::Layout layout;
    layout.add("x", {100});
    const auto fragments = make_fragments(layout, 3, true);
    std::size_t next = 0;
    for (const Fragment& fragment : fragments) {
        ASSERT_EQ(fragment.size(), 1U);
        EXPECT_EQ(fragment[0].offset, next);
        next += fragment[0].size;
    }
    EXPECT_EQ(next, layout.size());
}

}  // namespace
}  // namespace Atoll::federation
