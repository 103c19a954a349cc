// One replica: it learns, resumes bit for bit, refuses what is wrong, and its batches add up.
#include "model/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/model/text_batches.h"

namespace Atoll::model {
namespace {

TrainerOptions small_options() {
    TrainerOptions options;
    options.model = {.family = "llama",
                     .vocabulary = 128,
                     .context = 32,
                     .layers = 2,
                     .heads = 2,
                     .kv_heads = 1,
                     .width = 32,
                     .inner = 64,
                     .head_dim = 16,
                     .qk_norm = true};
    options.learning_rate = 5e-3;
    options.schedule = "cosine";
    options.schedule_options = {.steps = 60, .warmup_steps = 5};
    options.batch_sequences = 4;
    return options;
}

class TrainerTest : public testing::Test {
  protected:
    std::unique_ptr<Trainer> make(const TrainerOptions& options, BatchSource& data) {
        auto trainer = Trainer::make(*ops_, data, options);
        EXPECT_TRUE(trainer.ok()) << trainer.error().message;
        return std::move(trainer).value();
    }
    // Runs `steps` steps and returns their losses.
    static std::vector<double> run(Trainer& trainer, int steps) {
        std::vector<double> losses;
        for (int i = 0; i < steps; ++i) {
            const auto step = trainer.inner_step();
            EXPECT_TRUE(step.ok()) << step.error().message;
            losses.push_back(step->loss);
        }
        return losses;
    }
    std::unique_ptr<kernels::Ops> ops_ = kernels::make_cpu_ops(2);
};

TEST_F(TrainerTest, Training_lowers_train_and_held_out_loss) {
    TextBatches data(1);
    const auto trainer = make(small_options(), data);
    const double before = *trainer->validation_loss();
    EXPECT_NEAR(before, std::log(128.0), 0.3);
    const std::vector<double> losses = run(*trainer, 60);
    EXPECT_LT(losses.back(), 0.6 * losses.front());
    EXPECT_LT(*trainer->validation_loss(), 0.6 * before);
    EXPECT_EQ(trainer->step(), 60U);
}

TEST_F(TrainerTest, Evaluation_changes_nothing_and_is_the_same_every_time) {
    TextBatches data_a(1);
    TextBatches data_b(1);
    const auto plain = make(small_options(), data_a);
    const auto evaluated = make(small_options(), data_b);
    run(*plain, 3);
    run(*evaluated, 3);
    const double first = *evaluated->validation_loss();
    EXPECT_EQ(first, *evaluated->validation_loss());
    EXPECT_EQ(run(*plain, 3), run(*evaluated, 3));
}

TEST_F(TrainerTest, A_step_reports_schedule_tokens_and_norm) {
    TextBatches data(1);
    const auto trainer = make(small_options(), data);
    for (int i = 1; i <= 8; ++i) {
        const auto step = trainer->inner_step();
        ASSERT_TRUE(step.ok());
        EXPECT_EQ(step->tokens, 4U * 32U);
        EXPECT_GT(step->gradient_norm, 0);
        if (i <= 5) {
            EXPECT_NEAR(step->learning_rate, 5e-3 * i / 5, 1e-12);
        }
    }
}

TEST_F(TrainerTest, Resumed_from_its_state_training_continues_bit_for_bit) {
    for (const OptimizerEntry& entry : optimizers()) {
        SCOPED_TRACE(entry.name);
        TrainerOptions options = small_options();
        options.optimizer = entry.name;
        options.optimizer_options.projection_interval = 4;  // dizo projects before and after the restart
        options.accumulation = 2;
        TextBatches data(3);
        const auto straight = make(options, data);
        run(*straight, 7);
        const std::vector<float> parameters(straight->parameters().begin(), straight->parameters().end());
        std::vector<std::vector<float>> state;
        for (const StateVector& vector : straight->optimizer_state()) {
            state.emplace_back(vector.values.begin(), vector.values.end());
        }
        const Trainer::Position position = straight->position();
        const std::vector<double> expected = run(*straight, 7);

        TextBatches data_again(3);
        const auto resumed = make(options, data_again);
        std::copy(parameters.begin(), parameters.end(), resumed->parameters().begin());
        resumed->parameters_changed();
        const auto restored = resumed->optimizer_state();
        ASSERT_EQ(restored.size(), state.size());
        for (std::size_t i = 0; i < state.size(); ++i) {
            std::copy(state[i].begin(), state[i].end(), restored[i].values.begin());
        }
        resumed->seek(position);
        EXPECT_EQ(run(*resumed, 7), expected);
        EXPECT_TRUE(std::equal(straight->parameters().begin(), straight->parameters().end(),
                               resumed->parameters().begin()));
    }
}

TEST_F(TrainerTest, Accumulated_micro_batches_give_the_gradient_of_the_large_batch) {
    // A source whose micro-batches, one after the other, are the rows of the large batch.
    class Rows final : public BatchSource {
      public:
        Status next(TokenBatch& batch) override {
            TokenBatch whole{.batch = 4, .sequence = batch.sequence};
            ATOLL_TRY(text_.held_out(0, whole));
            const auto from = static_cast<std::ptrdiff_t>(row_ * batch.sequence);
            const auto to = from + static_cast<std::ptrdiff_t>(batch.batch * batch.sequence);
            batch.inputs.assign(whole.inputs.begin() + from, whole.inputs.begin() + to);
            batch.targets.assign(whole.targets.begin() + from, whole.targets.begin() + to);
            row_ = (row_ + batch.batch) % 4;
            return {};
        }
        std::uint64_t position() const override { return static_cast<std::uint64_t>(row_); }
        void seek(std::uint64_t position) override { row_ = static_cast<std::int64_t>(position); }
        Status held_out(std::uint64_t index, TokenBatch& batch) override {
            return text_.held_out(index, batch);
        }
        std::uint64_t held_out_count(std::int64_t, std::int64_t) const override { return 0; }

      private:
        TextBatches text_{5};
        std::int64_t row_ = 0;
    };
    Rows data_a;
    Rows data_b;
    TrainerOptions options = small_options();
    const auto whole = make(options, data_a);
    options.accumulation = 4;
    const auto parts = make(options, data_b);
    kernels::FlatBuffer expected(whole->layout().size());
    kernels::FlatBuffer actual(whole->layout().size());
    const auto expected_step = whole->gradient(expected.span());
    const auto actual_step = parts->gradient(actual.span());
    ASSERT_TRUE(expected_step.ok() && actual_step.ok());
    EXPECT_NEAR(expected_step->loss, actual_step->loss, 1e-5);
    EXPECT_EQ(expected_step->tokens, actual_step->tokens);
    for (std::size_t i = 0; i < expected.size(); ++i)
        ASSERT_NEAR(expected.span()[i], actual.span()[i], 1e-5) << i;
    EXPECT_TRUE(std::isnan(*whole->validation_loss()));  // this source holds nothing out
}

TEST_F(TrainerTest, The_mean_of_M_replicas_gradients_is_the_gradient_of_the_M_times_batch) {
    TrainerOptions options = small_options();
    TextBatches data(7);
    options.accumulation = 4;  // micro-batches 0..3 of one stream
    const auto large = make(options, data);
    kernels::FlatBuffer expected(large->layout().size());
    ASSERT_TRUE(large->gradient(expected.span()).ok());
    options.batch_sequences = 1;
    options.accumulation = 1;
    std::vector<double> mean(expected.size());
    for (std::uint64_t replica = 0; replica < 4; ++replica) {
        TextBatches own(7);
        const auto small = make(options, own);
        small->seek({.step = 0, .data = replica});
        kernels::FlatBuffer gradient(expected.size());
        ASSERT_TRUE(small->gradient(gradient.span()).ok());
        for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += static_cast<double>(gradient.span()[i]) / 4;
    }
    for (std::size_t i = 0; i < mean.size(); ++i) ASSERT_NEAR(mean[i], expected.span()[i], 1e-6) << i;
}

TEST_F(TrainerTest, Clipping_bounds_the_step) {
    TrainerOptions options = small_options();
    options.optimizer = "sgd";
    options.optimizer_options = {.beta1 = 0, .weight_decay = 0};
    options.schedule = "constant";
    options.schedule_options = {};
    options.learning_rate = 0.5;
    options.clip_norm = 0.01;
    TextBatches data(1);
    const auto trainer = make(options, data);
    const std::vector<float> before(trainer->parameters().begin(), trainer->parameters().end());
    const auto step = trainer->inner_step();
    ASSERT_TRUE(step.ok());
    EXPECT_GT(step->gradient_norm, 0.01);  // reported as it was
    double moved = 0;
    for (std::size_t i = 0; i < before.size(); ++i) {
        const double distance =
            static_cast<double>(trainer->parameters()[i]) - static_cast<double>(before[i]);
        moved += distance * distance;
    }
    EXPECT_NEAR(std::sqrt(moved), 0.5 * 0.01, 1e-5);
}

TEST_F(TrainerTest, A_loss_that_is_not_finite_names_the_step_and_leaves_the_parameters) {
    TextBatches data(1);
    const auto trainer = make(small_options(), data);
    run(*trainer, 2);
    trainer->parameters()[3] = std::numeric_limits<float>::quiet_NaN();
    trainer->parameters_changed();
    const std::vector<float> before(trainer->parameters().begin() + 4, trainer->parameters().end());
    bool failed = false;
    for (int i = 0; i < 50 && !failed; ++i) {  // the damaged embedding row must first occur in a batch
        const auto step = trainer->inner_step();
        failed = !step.ok();
        if (failed) {
            EXPECT_THAT(step.error().message, testing::HasSubstr("step 3"));
        }
    }
    EXPECT_TRUE(failed);
    EXPECT_EQ(trainer->step(), 2U);
    EXPECT_TRUE(std::equal(before.begin(), before.end(), trainer->parameters().begin() + 4));
}

TEST_F(TrainerTest, Wrong_options_are_named) {
    TextBatches data(1);
    const auto message = [&](auto spoil) {
        TrainerOptions options = small_options();
        spoil(options);
        const auto trainer = Trainer::make(*ops_, data, options);
        EXPECT_FALSE(trainer.ok());
        return trainer.ok() ? std::string() : trainer.error().message;
    };
    EXPECT_THAT(message([](TrainerOptions& o) { o.model.width = 33; }), testing::HasSubstr("model.width"));
    EXPECT_THAT(message([](TrainerOptions& o) { o.accumulation = 3; }),
                testing::HasSubstr("accumulation (3)"));
    EXPECT_THAT(message([](TrainerOptions& o) { o.sequence = 33; }), testing::HasSubstr("sequence"));
    EXPECT_THAT(message([](TrainerOptions& o) { o.optimizer = "adamv"; }), testing::HasSubstr("adamw"));
    EXPECT_THAT(message([](TrainerOptions& o) { o.schedule = "cos"; }), testing::HasSubstr("cosine"));
    EXPECT_THAT(message([](TrainerOptions& o) { o.batch_sequences = std::int64_t{1} << 40; }),
                testing::HasSubstr("batch_sequences"));
}

TEST_F(TrainerTest, Tokens_outside_the_vocabulary_are_refused) {
    TrainerOptions options = small_options();
    options.model.vocabulary = 100;  // the text has letters up to 'y' = 121
    TextBatches data(1);
    const auto trainer = make(options, data);
    const auto step = trainer->inner_step();
    ASSERT_FALSE(step.ok());
    EXPECT_EQ(step.error().code, ErrorCode::corrupt);
    EXPECT_THAT(step.error().message, testing::HasSubstr("vocabulary of 100"));
    EXPECT_FALSE(trainer->validation_loss().ok());
}

}  // namespace
}  // namespace Atoll::model
