// Evaluation against the transformer in double, and files in llm.c's format made by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/files.h"
#include "model/architecture.h"
#include "model/eval/held_out.h"
#include "model/eval/multiple_choice.h"
#include "tests/model/reference_transformer.h"
#include "tests/model/text_batches.h"

namespace Atoll::model {
namespace {

using testing::HasSubstr;

const ModelConfig kConfig = {.family = "gpt2",
                             .vocabulary = 128,
                             .context = 12,
                             .layers = 1,
                             .heads = 2,
                             .kv_heads = 2,
                             .width = 32,
                             .inner = 64,
                             .head_dim = 16};

std::vector<std::uint16_t> stream_of(const Question& question, std::uint16_t index) {
    std::vector<std::uint16_t> numbers = {65535, 0, index, static_cast<std::uint16_t>(question.label),
                                          static_cast<std::uint16_t>(question.completions.size())};
    const auto append = [&](const std::vector<std::int32_t>& tokens) {
        numbers.push_back(static_cast<std::uint16_t>(tokens.size()));
        for (const std::int32_t token : tokens) numbers.push_back(static_cast<std::uint16_t>(token));
    };
    append(question.context);
    for (const auto& completion : question.completions) append(completion);
    numbers[1] = static_cast<std::uint16_t>(2 * numbers.size());
    return numbers;
}

class MultipleChoice : public testing::Test {
  protected:
    std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "atoll_questions.bin";
    ~MultipleChoice() override { std::filesystem::remove(path); }

    void write(const std::vector<std::uint16_t>& numbers, std::int32_t questions,
               std::int32_t magic = 20240522) const {
        std::int32_t header[256] = {magic, 1, questions, 0};
        Bytes bytes(sizeof header + 2 * numbers.size());
        std::memcpy(bytes.data(), header, sizeof header);
        std::memcpy(bytes.data() + sizeof header, numbers.data(), 2 * numbers.size());
        ASSERT_TRUE(write_file(path, bytes).ok());
    }
    std::string refusal() const {
        const auto questions = read_questions(path, 128);
        return questions.ok() ? "" : questions.error().message;
    }
    static std::vector<Question> questions() {
        return {{{1, 2, 3}, {{4, 5}, {6}, {7, 8, 9}}, 0},
                {{9, 8}, {{50, 51, 52, 53}, {60, 61}}, 1},
                {{5}, {{100}, {101, 102}, {3, 4}, {17}}, 3},
                // 11 + 4 tokens: longer than the 13 that a context of 12 can take.
                {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, {{20, 21, 22, 23}, {30}}, 0}};
    }
};

TEST_F(MultipleChoice, A_file_reads_as_it_was_written) {
    std::vector<std::uint16_t> numbers;
    std::uint16_t index = 0;
    for (const Question& question : questions()) {
        const auto stream = stream_of(question, index++);
        numbers.insert(numbers.end(), stream.begin(), stream.end());
    }
    write(numbers, 4);
    const auto read = read_questions(path, 128);
    ASSERT_TRUE(read.ok()) << read.error().message;
    ASSERT_EQ(read->size(), 4U);
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_EQ((*read)[i].context, questions()[i].context);
        EXPECT_EQ((*read)[i].completions, questions()[i].completions);
        EXPECT_EQ((*read)[i].label, questions()[i].label);
    }
}

TEST_F(MultipleChoice, Damaged_files_are_refused_with_a_reason) {
    const auto good = stream_of(questions()[0], 0);
    write(good, 1);
    ASSERT_EQ(refusal(), "");
    for (std::size_t length = 0; length < good.size(); ++length) {
        write({good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length)}, 1);
        EXPECT_THAT(refusal(), HasSubstr("question 0")) << length;
    }
    const auto with = [&](std::size_t at, std::uint16_t value) {
        auto bad = good;
        bad[at] = value;
        write(bad, 1);
        return refusal();
    };
    EXPECT_THAT(with(0, 1), HasSubstr("65535"));
    EXPECT_THAT(with(1, 8), HasSubstr("says it has 8 bytes"));
    EXPECT_THAT(with(3, 3), HasSubstr("label 3 of 3"));
    EXPECT_THAT(with(4, 1), HasSubstr("of 1 completions"));
    EXPECT_THAT(with(5, 0), HasSubstr("context is empty"));
    EXPECT_THAT(with(5, 60000), HasSubstr("ends within its context"));
    EXPECT_THAT(with(6, 500), HasSubstr("another tokenizer"));
    auto longer = good;
    longer.push_back(7);
    write(longer, 1);
    EXPECT_THAT(refusal(), HasSubstr("after the last question"));
    write(good, 0);
    EXPECT_THAT(refusal(), HasSubstr("no questions"));
    write(good, 1, 20240520);
    EXPECT_THAT(refusal(), HasSubstr("expected 20240522"));
    ASSERT_TRUE(write_file(path, std::string_view("short")).ok());
    EXPECT_THAT(refusal(), HasSubstr("header"));
}

// The reference: the loss of each completion's tokens after all that stands before them, in double.
TEST_F(MultipleChoice, Answers_are_those_of_the_model_in_double) {
    const auto ops = kernels::make_cpu_ops(2);
    Transformer transformer(*ops, kConfig, {.rows_max = kConfig.context, .keep = Keep::nothing});
    ReferenceTransformer reference(kConfig, transformer.layout());
    std::uint64_t seen = 0;
    for (const std::uint64_t seed : {1U, 2U, 3U, 4U, 5U, 6U}) {
        kernels::FlatBuffer parameters(transformer.layout().size());
        transformer.initialize(parameters.span(), Rng(seed));
        for (float& value : parameters.span()) value *= 4;  // opinions
        ops->weights_changed();
        const std::vector<double> exact(parameters.span().begin(), parameters.span().end());
        std::uint64_t right = 0, right_by_sum = 0;
        double loss = 0;
        for (const Question& question : questions()) {
            std::size_t best = 0, best_by_sum = 0;
            std::vector<double> sums;
            for (const auto& completion : question.completions) {
                std::vector<std::int32_t> all = question.context;
                all.insert(all.end(), completion.begin(), completion.end());
                if (all.size() > 13) all.erase(all.begin(), all.end() - 13);
                const auto logits = reference.logits(exact, std::span(all).first(all.size() - 1));
                double sum = 0;
                for (std::size_t t = all.size() - completion.size(); t < all.size(); ++t) {
                    const auto& row = logits[t - 1];
                    double total = 0;
                    for (const double logit : row) total += std::exp(logit);
                    sum += std::log(total) - row[static_cast<std::size_t>(all[t])];
                }
                sums.push_back(sum);
                const auto mean = [&](std::size_t i) {
                    return sums[i] / static_cast<double>(question.completions[i].size());
                };
                if (mean(sums.size() - 1) < mean(best)) best = sums.size() - 1;
                if (sums.back() < sums[best_by_sum]) best_by_sum = sums.size() - 1;
            }
            right += best == question.label ? 1 : 0;
            right_by_sum += best_by_sum == question.label ? 1 : 0;
            loss +=
                sums[question.label] / static_cast<double>(question.completions[question.label].size()) / 4;
        }
        const auto all = questions();
        const auto score =
            answer_questions(transformer, parameters.span(), all, [](const ChoiceScore&) { return true; });
        ASSERT_TRUE(score.ok()) << score.error().message;
        EXPECT_EQ(score->questions, 4U);
        EXPECT_EQ(score->right, right);
        EXPECT_EQ(score->right_by_sum, right_by_sum);
        EXPECT_EQ(score->shortened, 1U);
        EXPECT_NEAR(score->loss, loss, 1e-4);
        seen += right;
    }
    EXPECT_GT(seen, 0U);
    EXPECT_LT(seen, 24U);
}

TEST_F(MultipleChoice, A_completion_longer_than_the_context_is_an_error_and_a_stop_ends_it) {
    const auto ops = kernels::make_cpu_ops(1);
    Transformer transformer(*ops, kConfig, {.rows_max = kConfig.context, .keep = Keep::nothing});
    kernels::FlatBuffer parameters(transformer.layout().size());
    transformer.initialize(parameters.span(), Rng(1));
    const Question question{{1}, {std::vector<std::int32_t>(13, 5), {4}}, 1};
    const auto yes = [](const ChoiceScore&) { return true; };
    const auto refused = answer_questions(transformer, parameters.span(), std::span(&question, 1), yes);
    ASSERT_FALSE(refused.ok());
    EXPECT_THAT(refused.error().message, HasSubstr("13 tokens does not fit"));
    const auto all = questions();
    const auto stopped = answer_questions(transformer, parameters.span(), all,
                                          [](const ChoiceScore& score) { return score.questions < 2; });
    ASSERT_FALSE(stopped.ok());
    EXPECT_EQ(stopped.error().code, ErrorCode::interrupted);
}

// Tokens of one, two and three bytes.
class UnequalTokens final : public Tokenizer {
  public:
    Status encode(std::string_view, std::vector<std::int32_t>&) const override { return {}; }
    void decode(std::span<const std::int32_t> ids, std::string& text) const override {
        for (const std::int32_t id : ids) text.append(static_cast<std::size_t>(id % 3 + 1), 'x');
    }
    std::int64_t vocabulary() const override { return 128; }
    std::optional<std::int32_t> end_of_text() const override { return std::nullopt; }
    std::string to_json() const override { return {}; }
};

TEST(HeldOut, Loss_perplexity_and_bits_per_byte_are_those_of_the_reference) {
    const auto ops = kernels::make_cpu_ops(2);
    Transformer transformer(*ops, kConfig, {.rows_max = 24, .keep = Keep::nothing});
    ReferenceTransformer reference(kConfig, transformer.layout());
    kernels::FlatBuffer parameters(transformer.layout().size());
    transformer.initialize(parameters.span(), Rng(1));
    const std::vector<double> exact(parameters.span().begin(), parameters.span().end());
    TextBatches data(1);
    TokenBatch batch{.batch = 2, .sequence = 12};
    double loss = 0;
    std::uint64_t bytes = 0;
    for (std::uint64_t i = 0; i < 3; ++i) {
        ASSERT_TRUE(data.held_out(i, batch).ok());
        loss += reference.loss(exact, batch) / 3;
        for (const std::int32_t target : batch.targets) bytes += static_cast<std::uint64_t>(target % 3 + 1);
    }
    const UnequalTokens tokenizer;
    const auto go_on = [](const HeldOutScore&) { return true; };
    const auto score = score_held_out(transformer, parameters.span(), data, batch, 3, &tokenizer, go_on);
    ASSERT_TRUE(score.ok());
    EXPECT_EQ(score->tokens, 72U);
    EXPECT_EQ(score->bytes, bytes);
    EXPECT_NEAR(score->loss, loss, 1e-5);
    EXPECT_NEAR(score->perplexity(), std::exp(loss), 1e-3);
    EXPECT_NEAR(score->bits_per_byte(), loss * 72 / std::log(2.0) / static_cast<double>(bytes), 1e-5);
    EXPECT_EQ(score_held_out(transformer, parameters.span(), data, batch, 3, nullptr, go_on)->bytes, 0U);
}

}  // namespace
}  // namespace Atoll::model
