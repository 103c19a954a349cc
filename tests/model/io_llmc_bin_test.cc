#include "model/io/llmc_bin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "tests/model/io_files.h"
#include "tests/model/io_small_model.h"

namespace Atoll::model {

using ::testing::HasSubstr;
using tests::SmallModel;

namespace {

class LlmcTest : public tests::FolderTest {
  protected:
    std::filesystem::path path_ = folder_ / "model.bin";

    void write(const SmallModel& model) {
        const Status status = write_llmc(path_, model.config, model.layout, model.parameters);
        ASSERT_TRUE(status.ok()) << status.error().message;
    }
    float value_at(const std::string& bytes, std::size_t index) {
        float value = 0;
        std::memcpy(&value, bytes.data() + 1024 + index * sizeof value, sizeof value);
        return value;
    }
};

TEST_F(LlmcTest, Comes_back_bit_for_bit) {
    const SmallModel model(tests::small_gpt2());
    write(model);
    const auto back = read_llmc(path_);
    ASSERT_TRUE(back.ok()) << back.error().message;
    ASSERT_EQ(back->layout.signature(), model.layout.signature());
    EXPECT_EQ(std::memcmp(back->parameters.data(), model.parameters.data(),
                          model.parameters.size() * sizeof(float)),
              0);
}

TEST_F(LlmcTest, Lies_in_the_order_of_llm_c) {
    const SmallModel model(tests::small_gpt2());
    write(model);
    const std::string bytes = tests::slurp(path_);
    std::int32_t header[8];
    std::memcpy(header, bytes.data(), sizeof header);
    EXPECT_THAT(header, ::testing::ElementsAre(20240326, 3, 8, 70, 2, 2, 32, 128));
    constexpr std::size_t kC = 32;
    EXPECT_EQ(value_at(bytes, 69 * kC + 5), model.values("transformer.wte.weight")[69 * kC + 5]);
    EXPECT_EQ(value_at(bytes, 70 * kC), 0.0F);  // a padded row
    std::size_t at = 128 * kC;
    EXPECT_EQ(value_at(bytes, at), model.values("transformer.wpe.weight")[0]);
    at += 8 * kC + 2 * kC;  // positions; the first norm's weights of both layers
    EXPECT_EQ(value_at(bytes, at + kC), model.values("transformer.h.1.ln_1.bias")[0]);
    at += 2 * kC;
    EXPECT_EQ(value_at(bytes, at + 3 * kC * kC + 7), model.values("transformer.h.1.attn.c_attn.weight")[7]);
}

// What llm.c says of GPT-2 small: 124,475,904 values, padding included.
TEST_F(LlmcTest, A_tiny_file_has_as_many_values_as_the_formula_says) {
    write(SmallModel(tests::small_gpt2()));
    const std::size_t c = 32;
    const std::size_t values = (128 + 8) * c + 2 * (12 * c * c + 13 * c) + 2 * c;
    EXPECT_EQ(std::filesystem::file_size(path_), 1024 + 4 * values);
    EXPECT_EQ((50304U + 1024U) * 768U + 12U * (12U * 768U * 768U + 13U * 768U) + 2U * 768U, 124'475'904U);
}

TEST_F(LlmcTest, Other_models_are_refused) {
    const SmallModel llama(tests::small_llama());
    const Status status = write_llmc(path_, llama.config, llama.layout, llama.parameters);
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(status.error().message, HasSubstr("llama"));
    EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(LlmcTest, Bad_files_are_refused_by_reason) {
    write(SmallModel(tests::small_gpt2()));
    const std::string whole = tests::slurp(path_);
    const auto error_of = [&](const std::string& bytes) {
        tests::spill(path_, bytes);
        const auto model = read_llmc(path_);
        EXPECT_FALSE(model.ok());
        return model.ok() ? "" : model.error().message;
    };
    EXPECT_THAT(error_of(""), HasSubstr("header"));
    EXPECT_THAT(error_of(whole.substr(0, whole.size() - 4)), HasSubstr("makes it"));
    EXPECT_THAT(error_of("x" + whole.substr(1)), HasSubstr("magic"));
    Rng rng(2);
    int refused = 0;
    for (int i = 0; i < 1000; ++i) {
        std::string bytes = whole;
        bytes[rng.below(32)] = static_cast<char>(rng.below(256));
        tests::spill(path_, bytes);
        refused += read_llmc(path_).ok() ? 0 : 1;
    }
    EXPECT_GT(refused, 900);
}

}  // namespace

}  // namespace Atoll::model
