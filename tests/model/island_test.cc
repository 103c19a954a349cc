// Several ranks as one replica: the same losses, the same state, the same bits of data as one rank alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <mutex>

#include "model/island/shards.h"
#include "model/trainer.h"
#include "tests/fakes/rank_threads.h"
#include "tests/model/text_batches.h"

namespace Atoll::model {
namespace {

using fakes::run_ranks;
using testing::HasSubstr;

// As TextBatches, but counting sequences, as a Loader does.
class Sequences final : public BatchSource {
  public:
    Status next(TokenBatch& batch) override {
        return fill(batch, [this](std::int64_t) { return position_++; });
    }
    std::uint64_t position() const override { return position_; }
    void seek(std::uint64_t position) override { position_ = position; }
    Status held_out(std::uint64_t index, TokenBatch& batch) override {
        return fill(batch, [&](std::int64_t row) {
            return 1'000'000 + index * static_cast<std::uint64_t>(batch.batch) +
                   static_cast<std::uint64_t>(row);
        });
    }
    std::uint64_t held_out_count(std::int64_t batch, std::int64_t) const override {
        return 24 / static_cast<std::uint64_t>(batch);
    }
    // From this sequence on nothing can be read.
    std::uint64_t damaged = ~std::uint64_t{0};

  private:
    Status fill(TokenBatch& batch, const std::function<std::uint64_t(std::int64_t)>& number) {
        TokenBatch one{.batch = 1, .sequence = batch.sequence};
        batch.inputs.clear();
        batch.targets.clear();
        for (std::int64_t row = 0; row < batch.batch; ++row) {
            const std::uint64_t sequence = number(row);
            if (sequence >= damaged && sequence < 1'000'000)
                return Error{ErrorCode::corrupt, "sequence " + std::to_string(sequence) + " is damaged"};
            text_.seek(sequence);
            ATOLL_TRY(text_.next(one));
            batch.inputs.insert(batch.inputs.end(), one.inputs.begin(), one.inputs.end());
            batch.targets.insert(batch.targets.end(), one.targets.begin(), one.targets.end());
        }
        return {};
    }
    TextBatches text_{5};
    std::uint64_t position_ = 0;
};

TrainerOptions small_options(std::string_view optimizer) {
    TrainerOptions options;
    options.model = {.family = "llama",
                     .vocabulary = 128,
                     .context = 16,
                     .layers = 2,
                     .heads = 2,
                     .kv_heads = 1,
                     .width = 16,
                     .inner = 32,
                     .head_dim = 8,
                     .qk_norm = true};
    options.optimizer = optimizer;
    options.optimizer_options.precondition_interval = 3;
    options.optimizer_options.curvature_interval = 3;
    options.optimizer_options.projection_interval = 3;
    options.learning_rate = 2e-3;
    options.batch_sequences = 8;
    options.accumulation = 2;
    return options;
}

struct Saved {
    std::vector<float> parameters;
    std::map<std::string, std::vector<float>> state;
    Trainer::Position position;
};

struct Ran {
    std::vector<double> losses;  // of the steps, then held out
    std::vector<double> norms;
    Saved saved;
};

Saved save(Trainer& trainer) {
    Saved saved{.parameters = {trainer.parameters().begin(), trainer.parameters().end()},
                .position = trainer.position()};
    const auto state = trainer.gather_state();
    EXPECT_TRUE(state.ok()) << state.error().message;
    for (const StateVector& vector : *state)
        saved.state[vector.name].assign(vector.values.begin(), vector.values.end());
    return saved;
}

void restore(Trainer& trainer, const Saved& saved) {
    std::ranges::copy(saved.parameters, trainer.parameters().begin());
    trainer.parameters_changed();
    const auto state = trainer.gather_state();
    ASSERT_TRUE(state.ok()) << state.error().message;
    ASSERT_EQ(state->size(), saved.state.size());
    for (const StateVector& vector : *state) {
        ASSERT_EQ(saved.state.at(vector.name).size(), vector.values.size()) << vector.name;
        std::ranges::copy(saved.state.at(vector.name), vector.values.begin());
    }
    ASSERT_TRUE(trainer.scatter_state().ok());
    trainer.seek(saved.position);
}

// `steps` steps of as many ranks, from the beginning or from what another run has saved.
Ran run(const TrainerOptions& options, int ranks, int steps, const Saved* from = nullptr) {
    Ran ran;
    const auto lead = [&](Trainer& trainer) {
        if (from != nullptr) restore(trainer, *from);
        for (int i = 0; i < steps; ++i) {
            const auto step = trainer.inner_step();
            ASSERT_TRUE(step.ok()) << step.error().message;
            EXPECT_EQ(step->tokens % (8 * 16), 0U) << "dizo takes several batches a step";
            ran.losses.push_back(step->loss);
            ran.norms.push_back(step->gradient_norm);
        }
        const auto held_out = trainer.validation_loss();
        ASSERT_TRUE(held_out.ok());
        ran.losses.push_back(*held_out);
        ran.saved = save(trainer);
    };
    run_ranks(ranks, [&](std::unique_ptr<kernels::Star> star) {
        const auto ops = kernels::make_cpu_ops(1);
        Sequences data;
        const auto trainer = Trainer::make(*ops, data, options, star.get());
        ASSERT_TRUE(trainer.ok()) << trainer.error().message;
        if (star->rank() == 0) return lead(**trainer);
        const Status followed = (*trainer)->follow();
        EXPECT_TRUE(followed.ok()) << followed.error().message;
    });
    return ran;
}

void expect_near(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], tolerance * std::abs(a[i])) << i;
}

// Gradients are summed in another order: they differ by fp32 rounding. That is all for most; sign-based steps
// turn where a gradient is next to nothing.
double tolerance_of(std::string_view optimizer) {
    return optimizer == "lion" || optimizer == "signum" || optimizer == "sophia" ? 2e-3 : 1e-4;
}

class Island : public testing::TestWithParam<std::string> {};

std::vector<std::string> names() {
    std::vector<std::string> names;
    for (const OptimizerEntry& entry : optimizers()) names.emplace_back(entry.name);
    return names;
}
INSTANTIATE_TEST_SUITE_P(Optimizers, Island, testing::ValuesIn(names()),
                         [](const auto& each) { return each.param; });

TEST_P(Island, Ranks_have_the_losses_and_the_state_of_one) {
    const TrainerOptions options = small_options(GetParam());
    const Ran alone = run(options, 1, 7);
    for (const int ranks : {2, 4}) {
        SCOPED_TRACE(ranks);
        const Ran together = run(options, ranks, 7);
        expect_near(alone.losses, together.losses, tolerance_of(GetParam()));
        EXPECT_EQ(alone.saved.position.data, together.saved.position.data);
        ASSERT_EQ(alone.saved.state.size(), together.saved.state.size());
        for (const auto& [name, values] : alone.saved.state) {
            ASSERT_TRUE(together.saved.state.contains(name)) << name;
            EXPECT_EQ(values.size(), together.saved.state.at(name).size()) << name;
        }
    }
}

TEST_P(Island, A_checkpoint_goes_on_with_any_number_of_ranks) {
    const TrainerOptions options = small_options(GetParam());
    const Ran first = run(options, 4, 4);
    const Ran on = run(options, 4, 4, &first.saved);
    for (const int ranks : {1, 2}) {
        SCOPED_TRACE(ranks);
        expect_near(on.losses, run(options, ranks, 4, &first.saved).losses, tolerance_of(GetParam()));
    }
    EXPECT_EQ(on.losses, run(options, 4, 4, &first.saved).losses) << "the same bits with the same number";
}

TEST_P(Island, Packed_state_is_cut_where_one_rank_would_cut_it) {
    if (!(*find_optimizer(GetParam()))->packs) return;  // it keeps fp32
    TrainerOptions options = small_options(GetParam());
    options.optimizer_options.state = StateFormat::int8;
    const Ran first = run(options, 4, 3);
    const Ran alone = run(options, 1, 3, &first.saved);
    // Rounding is at random, and not the same with another number of ranks.
    expect_near(alone.losses, run(options, 4, 3, &first.saved).losses, 2e-2);
}

TEST(Shards, Are_whole_ranges_in_order_and_about_equal) {
    kernels::Layout layout;
    layout.add("embedding", {100, 16});
    for (int i = 0; i < 8; ++i) {
        layout.add("norm" + std::to_string(i), {16});
        layout.add("matrix" + std::to_string(i), {16, 48});
    }
    const kernels::Parts parts = optimizer_parts(layout, {}, false, 4);
    EXPECT_EQ(parts.total(), layout.size());
    std::size_t slots = 0;
    for (int rank = 0; rank < 4; ++rank) {
        const Shard shard = shard_of(layout, {}, parts, rank);
        slots += shard.layout.slots().size();
        EXPECT_NEAR(static_cast<double>(parts.size(rank)), static_cast<double>(layout.size()) / 4, 16 * 48);
    }
    EXPECT_EQ(slots, layout.slots().size());
}

TEST(Shards, More_ranks_than_ranges_leave_some_without) {
    kernels::Layout layout;
    layout.add("matrix", {4, 4});
    layout.add("vector", {16});
    const kernels::Parts parts = optimizer_parts(layout, {}, false, 5);
    EXPECT_EQ(parts.total(), layout.size());
    int with = 0;
    for (int rank = 0; rank < 5; ++rank) with += parts.size(rank) > 0 ? 1 : 0;
    EXPECT_EQ(with, 2);
}

TEST(Shards, What_is_coupled_is_not_cut) {
    kernels::Layout layout;
    layout.add("matrix", {4, 4});
    layout.add("vector", {16});
    const kernels::Parts parts = optimizer_parts(layout, {}, true, 3);
    EXPECT_EQ(parts.size(0), layout.size());
    EXPECT_EQ(parts.total(), layout.size());
}

TEST(IslandTrainer, Gradients_and_losses_asked_for_singly_are_those_of_one_rank) {
    const TrainerOptions options = small_options("adamw");
    std::map<int, std::vector<float>> gradients;
    std::map<int, double> losses;
    for (const int ranks : {1, 2}) {
        run_ranks(ranks, [&](std::unique_ptr<kernels::Star> star) {
            const auto ops = kernels::make_cpu_ops(1);
            Sequences data;
            const auto trainer = Trainer::make(*ops, data, options, star.get());
            ASSERT_TRUE(trainer.ok());
            if (star->rank() != 0) {
                EXPECT_TRUE((*trainer)->follow().ok());
                return;
            }
            kernels::FlatBuffer gradient((*trainer)->layout().size());
            ASSERT_TRUE((*trainer)->gradient(gradient.span()).ok());
            gradients[ranks].assign(gradient.span().begin(), gradient.span().end());
            const kernels::NormalTerm terms[] = {{.seed = 3, .scale = 0.05F}};
            (*trainer)->add_normals(terms);
            const auto loss = (*trainer)->loss(Draw::next);
            ASSERT_TRUE(loss.ok());
            losses[ranks] = loss->loss;
            EXPECT_EQ((*trainer)->loss(Draw::again)->loss, loss->loss);
        });
    }
    for (std::size_t i = 0; i < gradients[1].size(); ++i)
        EXPECT_NEAR(gradients[1][i], gradients[2][i], 1e-6) << i;
    EXPECT_NEAR(losses[1], losses[2], 1e-6);
}

TEST(IslandTrainer, A_search_of_the_rate_takes_the_same_turns) {
    TrainerOptions options = small_options("adamw");
    options.learning_rate = 0.02;
    options.schedule_options.steps = 40;
    options.rate_search = RateSearchOptions{.window = 5, .begin = 2, .end = 35};
    const Ran alone = run(options, 1, 40);
    const Ran together = run(options, 2, 40);
    expect_near(alone.losses, together.losses, 5e-3);
    EXPECT_EQ(alone.saved.state.at("rate_search").size(), together.saved.state.at("rate_search").size());
}

TEST(IslandTrainer, Data_that_one_rank_cannot_read_stops_all) {
    run_ranks(2, [](std::unique_ptr<kernels::Star> star) {
        const auto ops = kernels::make_cpu_ops(1);
        Sequences data;
        data.damaged = 14;  // of the second step: rank 1 reads 10, 11 and 14, 15
        const auto trainer = Trainer::make(*ops, data, small_options("adamw"), star.get());
        ASSERT_TRUE(trainer.ok());
        Status ended;
        if (star->rank() == 0) {
            EXPECT_TRUE((*trainer)->inner_step().ok());
            const auto step = (*trainer)->inner_step();
            ASSERT_FALSE(step.ok());
            EXPECT_EQ(step.error().message, "rank 1: sequence 14 is damaged");
            ended = step.error();
        } else {
            ended = (*trainer)->follow();
            EXPECT_THAT(ended.error().message, HasSubstr("sequence 14 is damaged"));
        }
        EXPECT_EQ(ended.error().code, ErrorCode::corrupt);
    });
}

TEST(IslandTrainer, A_batch_that_does_not_divide_names_both_keys) {
    run_ranks(3, [](std::unique_ptr<kernels::Star> star) {
        const auto ops = kernels::make_cpu_ops(1);
        Sequences data;
        const auto trainer = Trainer::make(*ops, data, small_options("adamw"), star.get());
        ASSERT_FALSE(trainer.ok());
        EXPECT_EQ(trainer.error().code, ErrorCode::invalid);
        EXPECT_THAT(trainer.error().message, HasSubstr("optimizer.batch_sequences = 8"));
        EXPECT_THAT(trainer.error().message,
                    HasSubstr("optimizer.accumulation (2) times the number of ranks (3)"));
    });
}

}  // namespace
}  // namespace Atoll::model
