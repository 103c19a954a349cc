#include "model/io/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "model/io/half.h"
#include "tests/model/io_files.h"

namespace Atoll::model {

using ::testing::HasSubstr;

namespace {

// A file from its header's text, as the format lays it out.
std::string file_of(const std::string& header, std::size_t data_bytes) {
    std::string bytes(8, '\0');
    const std::uint64_t length = header.size();
    std::memcpy(bytes.data(), &length, sizeof length);
    return bytes + header + std::string(data_bytes, 'd');
}

std::string error_of(const std::string& bytes) {
    const auto header = parse_safetensors(as_byte_view(bytes));
    EXPECT_FALSE(header.ok()) << bytes.substr(8);
    return header.ok() ? "" : header.error().message;
}

bool accepted(const std::string& header, std::size_t data_bytes) {
    const std::string bytes = file_of(header, data_bytes);
    const auto parsed = parse_safetensors(as_byte_view(bytes));
    EXPECT_TRUE(parsed.ok()) << parsed.error().message;
    return parsed.ok();
}

class SafetensorsTest : public tests::FolderTest {
  protected:
    std::filesystem::path path_ = folder_ / "x.safetensors";
};

const std::string kVector = file_of(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  )", 0) +
                            std::string("\x00\x00\x80\x3f\x00\x00\x00\xc0", 8);

TEST_F(SafetensorsTest, Reads_the_test_vector) {
    ASSERT_EQ(kVector.size(), 72U);
    ASSERT_EQ(kVector.substr(0, 8), std::string("\x38\0\0\0\0\0\0\0", 8));
    tests::spill(path_, kVector);
    const auto file = SafetensorsFile::open(path_);
    ASSERT_TRUE(file.ok()) << file.error().message;
    const TensorEntry* x = file->find("x");
    ASSERT_NE(x, nullptr);
    std::vector<float> values(2);
    ASSERT_TRUE(file->read(*x, values).ok());
    EXPECT_EQ(values, (std::vector<float>{1.0F, -2.0F}));
    EXPECT_EQ(file->find("y"), nullptr);
}

TEST_F(SafetensorsTest, Writes_sorted_padded_with_the_metadata_that_others_ask_for) {
    const std::vector<float> values{1.0F, -2.0F, 3.0F, 4.0F, 5.0F, 6.0F};
    const auto hash = write_safetensors(path_,
                                        {{"half", {2}, std::span(values).first(2), DType::f16, false},
                                         {"z", {1}, std::span(values).first(1), DType::f32, false},
                                         {"matrix", {3, 2}, values, DType::f32, true},
                                         {"none", {0}, {}, DType::f32, false}},
                                        {{"run", "a \"quoted\" name"}});
    ASSERT_TRUE(hash.ok()) << hash.error().message;
    const std::string bytes = tests::slurp(path_);
    EXPECT_EQ(*hash, blake2b(as_byte_view(bytes)));
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    EXPECT_EQ(length % 8, 0U);
    EXPECT_THAT(
        bytes.substr(8),
        ::testing::StartsWith(R"({"__metadata__":{"format":"pt","run":"a \"quoted\" name"},"matrix":)"));
    EXPECT_LT(bytes.find("\"z\""), bytes.find("\"half\""));
    const auto file = SafetensorsFile::open(path_);
    ASSERT_TRUE(file.ok()) << file.error().message;
    EXPECT_EQ(file->metadata().at("format"), "pt");
    std::vector<float> matrix(6);
    ASSERT_TRUE(file->read(*file->find("matrix"), matrix).ok());
    EXPECT_EQ(matrix, (std::vector<float>{1, 4, -2, 5, 3, 6}));  // given as [2, 3]: [[1, -2, 3], [4, 5, 6]]
    std::vector<float> half(2);
    ASSERT_TRUE(file->read(*file->find("half"), half).ok());
    EXPECT_EQ(half, (std::vector<float>{1.0F, -2.0F}));
}

TEST_F(SafetensorsTest, Large_tensors_come_back_also_transposed) {
    constexpr std::int64_t kRows = 300;
    constexpr std::int64_t kColumns = 701;
    std::vector<float> values(kRows * kColumns);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
    ASSERT_TRUE(write_safetensors(path_, {{"t", {kColumns, kRows}, values, DType::f32, true},
                                          {"s", {kRows, kColumns}, values}})
                    .ok());
    const auto file = SafetensorsFile::open(path_);
    ASSERT_TRUE(file.ok());
    std::vector<float> stored(values.size());
    std::vector<float> back(values.size());
    ASSERT_TRUE(file->read(*file->find("s"), stored).ok());
    EXPECT_EQ(stored, values);
    ASSERT_TRUE(file->read(*file->find("t"), stored).ok());
    EXPECT_EQ(stored[1], 701.0F);
    transpose(stored, kColumns, kRows, back);
    EXPECT_EQ(back, values);
}

TEST_F(SafetensorsTest, What_the_format_allows_is_accepted) {
    EXPECT_TRUE(accepted(R"({})", 0));
    EXPECT_TRUE(accepted(R"({"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", 4));
    EXPECT_TRUE(accepted(R"({"z":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]}})", 0));
    EXPECT_TRUE(accepted(
        R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[4,5]},"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}})",
        5));
    EXPECT_TRUE(accepted(
        R"({"z":{"dtype":"U8","shape":[0],"data_offsets":[2,2]},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
        4));
    EXPECT_TRUE(accepted(R"({"f":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}})", 1));
    EXPECT_TRUE(accepted(R"({"__metadata__":{"a":"b"}}      )", 0));
}

TEST_F(SafetensorsTest, Every_rule_of_the_format_is_checked) {
    const auto tensor = [](const std::string& fields) { return "{\"x\":{" + fields + "}}"; };
    EXPECT_THAT(error_of(""), HasSubstr("too short"));
    EXPECT_THAT(error_of("1234567"), HasSubstr("too short"));
    EXPECT_THAT(error_of(kVector.substr(0, 40)), HasSubstr("cut off"));
    EXPECT_THAT(error_of(std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10)), HasSubstr("cut off"));
    EXPECT_THAT(error_of(file_of("", 0)), HasSubstr("'{'"));
    EXPECT_THAT(error_of(file_of(" {}", 0)), HasSubstr("'{'"));
    EXPECT_THAT(error_of(file_of("{} x", 0)), HasSubstr("JSON"));
    EXPECT_THAT(error_of(file_of("{\"\xff\":1}", 0)), HasSubstr("JSON"));
    EXPECT_THAT(
        error_of(file_of(
            R"({"x":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"x":{"dtype":"U8","shape":[],"data_offsets":[1,2]}})",
            2)),
        HasSubstr("twice"));
    EXPECT_THAT(error_of(file_of(tensor(R"("dtype":"U8","dtype":"U8","shape":[],"data_offsets":[0,1])"), 1)),
                HasSubstr("twice"));
    EXPECT_THAT(error_of(file_of(R"({"x":3})", 0)), HasSubstr("dtype, shape"));
    EXPECT_THAT(error_of(file_of(tensor(R"("dtype":"U8","shape":[])"), 1)), HasSubstr("dtype, shape"));
    EXPECT_THAT(error_of(file_of(tensor(R"("dtype":"F33","shape":[],"data_offsets":[0,4])"), 4)),
                HasSubstr("unknown dtype"));
    EXPECT_THAT(error_of(file_of(tensor(R"("dtype":"U8","shape":[-1],"data_offsets":[0,1])"), 1)),
                HasSubstr("non-negative"));
    EXPECT_THAT(error_of(file_of(tensor(R"("dtype":"U8","shape":[1.0],"data_offsets":[0,1])"), 1)),
                HasSubstr("non-negative"));
    EXPECT_THAT(
        error_of(file_of(tensor(R"("dtype":"U8","shape":[99999999999999999999],"data_offsets":[0,1])"), 1)),
        HasSubstr("non-negative"));
    EXPECT_THAT(error_of(file_of(tensor(R"("dtype":"U8","shape":{},"data_offsets":[0,1])"), 1)),
                HasSubstr("shape"));
    EXPECT_THAT(error_of(file_of(tensor(R"("dtype":"U8","shape":[1],"data_offsets":[0,1,2])"), 1)),
                HasSubstr("data_offsets"));
    EXPECT_THAT(error_of(file_of(tensor(R"("dtype":"U8","shape":[1],"data_offsets":[1,0])"), 1)),
                HasSubstr("end before"));
    EXPECT_THAT(error_of(file_of(tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])"), 4)),
                HasSubstr("8 bytes"));
    EXPECT_THAT(error_of(file_of(tensor(R"("dtype":"F4","shape":[3],"data_offsets":[0,2])"), 2)),
                HasSubstr("whole number"));
    EXPECT_THAT(
        error_of(file_of(tensor(R"("dtype":"F32","shape":[4611686018427387904,2],"data_offsets":[0,0])"), 0)),
        HasSubstr("more elements"));
    EXPECT_THAT(error_of(file_of(tensor(R"("dtype":"U8","shape":[1],"data_offsets":[1,2])"), 2)),
                HasSubstr("begins at byte 1"));
    EXPECT_THAT(
        error_of(file_of(
            R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
            3)),
        HasSubstr("begins at byte 1"));
    EXPECT_THAT(error_of(kVector + "x"), HasSubstr("8 bytes, the file holds 9"));
    EXPECT_THAT(error_of(kVector.substr(0, 71)), HasSubstr("8 bytes, the file holds 7"));
    EXPECT_THAT(error_of(file_of(R"({"__metadata__":{"a":1}})", 0)), HasSubstr("__metadata__"));
    EXPECT_THAT(error_of(file_of(R"({"__metadata__":[]})", 0)), HasSubstr("__metadata__"));
    EXPECT_THAT(error_of(file_of("{\"x\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}", 0)),
                HasSubstr("deep"));
}

TEST_F(SafetensorsTest, Reading_checks_type_and_number_of_elements) {
    tests::spill(
        path_,
        file_of(
            R"({"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
            8));
    const auto file = SafetensorsFile::open(path_);
    ASSERT_TRUE(file.ok());
    std::vector<float> one(1);
    std::vector<float> two(2);
    EXPECT_THAT(file->read(*file->find("a"), one).error().message, HasSubstr("I32"));
    EXPECT_THAT(file->read(*file->find("b"), two).error().message, HasSubstr("expected 2"));
    EXPECT_EQ(SafetensorsFile::open(folder_ / "missing").error().code, ErrorCode::not_found);
}

// Damage to the header is found or harmless: tensors never reach outside the file.
TEST_F(SafetensorsTest, Random_damage_never_crashes) {
    const std::vector<float> values(40, 1.5F);
    ASSERT_TRUE(write_safetensors(path_, {{"a", {4, 5}, std::span(values).first(20)},
                                          {"b", {20}, std::span(values).last(20), DType::bf16}})
                    .ok());
    const std::string whole = tests::slurp(path_);
    Rng rng(5);
    int refused = 0;
    for (int i = 0; i < 6000; ++i) {
        const std::string bytes = tests::damage(i % 2 == 0 ? whole : tests::damage(whole, rng), rng);
        const auto header = parse_safetensors(as_byte_view(bytes));
        if (!header.ok()) {
            ++refused;
            continue;
        }
        std::uint64_t end = 0;
        for (const TensorEntry& tensor : header->tensors) {
            ASSERT_EQ(tensor.begin, end);
            end = tensor.end;
        }
        ASSERT_EQ(header->data_offset + end, bytes.size());
    }
    EXPECT_GT(refused, 3000);
}

TEST(HalfPrecision, Every_half_comes_back) {
    for (std::uint32_t bits = 0; bits < 65536; ++bits) {
        const auto half = static_cast<std::uint16_t>(bits);
        const float wide = from_f16(half);
        if (std::isnan(wide)) {
            ASSERT_TRUE(std::isnan(from_f16(to_f16(wide))));
        } else {
            ASSERT_EQ(to_f16(wide), half);
        }
        const float brain = from_bf16(half);
        if (std::isnan(brain)) {
            ASSERT_TRUE(std::isnan(from_bf16(to_bf16(brain))));
        } else {
            ASSERT_EQ(to_bf16(brain), half);
        }
    }
}

TEST(HalfPrecision, Rounds_to_the_nearest_and_ties_to_even) {
    Rng rng(3);
    for (int i = 0; i < 200'000; ++i) {
        // Neighbouring halves, and a point between them: the nearer one must win.
        const auto low_bits = static_cast<std::uint16_t>(rng.below(0x7BFF));
        const float low = from_f16(low_bits);
        const float high = from_f16(static_cast<std::uint16_t>(low_bits + 1));
        const float middle = low + (high - low) / 2;
        const auto even = static_cast<std::uint16_t>(low_bits + (low_bits & 1U));
        ASSERT_EQ(to_f16(middle), even);
        ASSERT_EQ(to_f16(-middle), even | 0x8000U);
        ASSERT_EQ(to_f16(std::nextafter(middle, 0.0F)), low_bits);
        ASSERT_EQ(to_f16(std::nextafter(middle, 1e9F)), low_bits + 1);
    }
    EXPECT_EQ(from_f16(to_f16(65519.0F)), 65504.0F);
    EXPECT_EQ(from_f16(to_f16(65520.0F)), std::numeric_limits<float>::infinity());
    EXPECT_EQ(to_f16(1e-10F), 0);
    EXPECT_EQ(from_bf16(to_bf16(1.00390625F)), 1.0F);  // halfway between 1 and 1 + 2^-7: to even
    EXPECT_EQ(from_bf16(to_bf16(1.01171875F)), 1.015625F);
    EXPECT_EQ(from_bf16(to_bf16(std::numeric_limits<float>::max())), std::numeric_limits<float>::infinity());
}

}  // namespace

}  // namespace Atoll::model
