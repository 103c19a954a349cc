// The encoded formats byte for byte: what is on the wire never changes.
#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "gossip/codec/codec.h"

namespace Atoll::gossip {
namespace {

std::string encode_hex(std::string_view codec_name, const std::vector<float>& values) {
    const auto codec = make_codec(codec_name, {}).value();
    Bytes out(codec->encoded_bytes(values.size()));
    out.resize(codec->encode(values, {}, out, {}, {}));
    return to_hex(out);
}

TEST(CodecFormat, Wire_ids_are_for_ever) {
    const std::pair<std::string_view, int> ids[] = {
        {"none", 0},      {"bf16", 1},      {"int8_block", 2}, {"int4_block", 3}, {"fp16", 4},
        {"e3m0", 5},      {"sign", 6},      {"ternary", 7},    {"topk", 8},       {"random_k", 9},
        {"dct_topk", 10}, {"low_rank", 11}, {"seeds", 12}};
    for (const auto& [name, id] : ids) {
        const CodecEntry* entry = find_codec(static_cast<std::uint8_t>(id));
        ASSERT_NE(entry, nullptr) << name;
        EXPECT_EQ(entry->name, name);
    }
    EXPECT_EQ(find_codec(255), nullptr);
}

TEST(CodecFormat, Sizes_follow_the_documented_formulas) {
    const auto size = [](std::string_view name, std::size_t count) {
        return make_codec(name, {}).value()->encoded_bytes(count);
    };
    for (const std::size_t n : {0U, 1U, 255U, 256U, 257U, 1000U, 124'439'808U}) {
        EXPECT_EQ(size("none", n), 4 * n);
        EXPECT_EQ(size("bf16", n), 2 * n);
        EXPECT_EQ(size("int8_block", n), n + 2 * ((n + 255) / 256));
        EXPECT_EQ(size("int4_block", n), (n + 1) / 2 + 2 * ((n + 255) / 256));
        EXPECT_EQ(size("fp16", n), 2 * n + 2 * ((n + 255) / 256));
        EXPECT_EQ(size("e3m0", n), (n + 1) / 2 + 2 * ((n + 255) / 256));
        EXPECT_EQ(size("sign", n), (n + 7) / 8 + 2 * ((n + 255) / 256));
        EXPECT_EQ(size("ternary", n), (n + 3) / 4 + 2 * ((n + 255) / 256));
    }
}

TEST(CodecFormat, None_is_little_endian_fp32) {
    EXPECT_EQ(encode_hex("none", {1.0F, -2.5F}), "0000803f000020c0");
}

TEST(CodecFormat, Bf16_rounds_to_nearest_even) {
    // 1 + 2^-8 is halfway between 3f80 and 3f81: to even; 1 + 3 * 2^-8 halfway between 3f81 and 3f82: to
    // even.
    EXPECT_EQ(encode_hex("bf16", {1.0F, 1.00390625F, 1.01171875F, -1.0F, 0.0F, -0.0F}),
              "803f803f823f80bf00000080");
}

TEST(CodecFormat, Int8_has_a_bf16_scale_and_then_a_byte_a_value) {
    // Largest magnitude 127: scale 1 = 3f80. Ties go to even.
    EXPECT_EQ(encode_hex("int8_block", {127.0F, -127.0F, 0.5F, 1.5F, -1.0F}),
              "803f"
              "7f810002ff");
}

TEST(CodecFormat, Int4_pairs_value_j_with_value_j_plus_half_the_block) {
    // Largest magnitude 7: scale 1. Five values: h = 3; bytes (7, -2), (1, 3), (-7, none).
    EXPECT_EQ(encode_hex("int4_block", {7.0F, 1.0F, -7.0F, -2.0F, 3.0F}),
              "803f"
              "e73109");
}

TEST(CodecFormat, Each_block_of_256_has_its_own_scale) {
    std::vector<float> values(257, 127.0F);
    values[256] = 1270.0F;  // 1270 / 127 = 10 = 4120
    const std::string hex = encode_hex("int8_block", values);
    EXPECT_EQ(hex.substr(0, 8), "803f2041");
    EXPECT_EQ(hex.substr(hex.size() - 4), "7f7f");
}

TEST(CodecFormat, Scales_that_are_negative_denormal_or_too_large_are_refused) {
    const auto codec = make_codec("int8_block", {}).value();
    const auto accepts = [&](const char* hex) {
        std::vector<float> out(1, 3);
        const bool ok = codec->decode(from_hex(hex).value(), out, 1, false).ok();
        EXPECT_TRUE(ok || out[0] == 3);
        return ok;
    };
    EXPECT_TRUE(
        accepts("803f"
                "01"));  // 1
    EXPECT_TRUE(
        accepts("0000"
                "01"));  // 0
    EXPECT_TRUE(
        accepts("8000"
                "01"));  // smallest normal
    EXPECT_TRUE(
        accepts("ff7b"
                "80"));  // greatest: -128 times it is finite
    EXPECT_FALSE(
        accepts("007c"
                "80"));
    EXPECT_FALSE(
        accepts("807f"
                "01"));  // infinity
    EXPECT_FALSE(
        accepts("c07f"
                "01"));  // NaN
    EXPECT_FALSE(
        accepts("80bf"
                "01"));  // -1
    EXPECT_FALSE(
        accepts("0080"
                "01"));  // -0
    EXPECT_FALSE(
        accepts("7f00"
                "01"));  // denormal
}

TEST(CodecFormat, Unknown_name_is_an_error_that_names_the_nearest) {
    const auto made = make_codec("int8_blok", {});
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.error().code, ErrorCode::invalid);
    EXPECT_NE(made.error().message.find("did you mean int8_block?"), std::string::npos)
        << made.error().message;
}

TEST(CodecFormat, Relative_error_on_gaussian_values) {
    // Uniform rounding error of a step s is s / sqrt(12); the largest of 256 Gaussians is about 2.8 sigma.
    const std::tuple<std::string_view, double, double> bounds[] = {
        {"bf16", 0.001, 0.003}, {"int8_block", 0.004, 0.009}, {"int4_block", 0.09, 0.15}};
    for (const auto& [name, low, high] : bounds) {
        Rng rng(5);
        std::vector<float> values(1 << 16);
        for (float& value : values) value = static_cast<float>(rng.normal());
        const auto codec = make_codec(name, {}).value();
        Bytes bytes(codec->encoded_bytes(values.size()));
        std::vector<float> decoded(values.size());
        codec->encode(values, {}, bytes, decoded, {});
        double error = 0;
        double norm = 0;
        for (std::size_t i = 0; i < values.size(); ++i) {
            error += std::pow(double{decoded[i]} - double{values[i]}, 2);
            norm += std::pow(double{values[i]}, 2);
        }
        EXPECT_GT(std::sqrt(error / norm), low) << name;
        EXPECT_LT(std::sqrt(error / norm), high) << name;
    }
}

TEST(CodecFormat, Short_codes_stand_in_order_from_the_lowest_bits) {
    // 0.75 scale < 3 <= 1.5 scale: the scale is 2 (bf16 4000). Codes 7 (2), F (-2), 6 (1), 0, 5 (0.5), 1
    // (2^-5).
    EXPECT_EQ(encode_hex("e3m0", {3, -2.5F, 1, 0, 0.5F, 0.02F}), "0040f70615");
    // Mean magnitude 2 (4000); the second and the ninth are negative.
    EXPECT_EQ(encode_hex("sign", {2, -2, 2, 2, 2, 2, 2, 2, -2}), "00400201");
    // Threshold 0.7 * 1.6: the mean of 3, 2, 3 is 2.67 (402b); codes 1, 0, 2, 0, 1.
    EXPECT_EQ(encode_hex("ternary", {3, 0, -2, 0, 3}),
              "2b40"
              "2101");
    // The largest, 3, comes to 3 * 2^13: the scale is 2^-13 (3900).
    EXPECT_EQ(encode_hex("fp16", {3, 1}),
              "0039"
              "0076"
              "0070");
}

}  // namespace
}  // namespace Atoll::gossip
