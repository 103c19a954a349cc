// What every entry of the table of codecs promises.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/rng.h"
#include "gossip/codec/codec.h"

namespace Atoll::gossip {
namespace {

constexpr std::size_t kBlock = 256;
const std::size_t kLengths[] = {0,   1,   2,   3,   7,   15,  16,  17,  31,   127,   128,   129,
                                254, 255, 256, 257, 258, 511, 512, 513, 1000, 65535, 65536, 200003};

using Values = std::vector<float>;

std::vector<std::uint32_t> bits_of(std::span<const float> values) {
    std::vector<std::uint32_t> bits(values.size());
    if (!values.empty()) std::memcpy(bits.data(), values.data(), values.size_bytes());
    return bits;
}

// The kinds of vectors that codecs get wrong.
const char* const kKinds[] = {"normal", "zeros", "constant", "outlier", "denormal", "huge", "wide", "blocks"};

Values make_values(const std::string& kind, std::size_t count) {
    Rng rng(count);
    Values values(count);
    for (std::size_t i = 0; i < count; ++i) {
        const auto normal = static_cast<float>(rng.normal());
        float& v = values[i];
        if (kind == "normal") v = normal;
        if (kind == "zeros") v = i % 2 == 0 ? 0.0F : -0.0F;
        if (kind == "constant") v = -0.1F;
        if (kind == "outlier") v = i % 300 == 37 ? 1e6F : 1e-3F * normal;
        if (kind == "denormal") v = normal * 1e-41F;
        if (kind == "huge") v = normal > 0 ? 2.5e38F : -1e38F;
        if (kind == "wide") v = normal * std::exp2(static_cast<float>(rng.below(200)) - 120);
        if (kind == "blocks") v = i / kBlock % 2 == 0 ? 0 : normal;
    }
    return values;
}

class CodecContract : public testing::TestWithParam<CodecEntry> {
  protected:
    // Bounds the error of single values; else only that of whole vectors.
    [[nodiscard]] static bool bounded() { return GetParam().error_max < 1; }

    static Bytes encode(const Codec& codec, std::span<const float> values, std::span<float> residual = {},
                        std::span<float> decoded = {}, const CodecSeed& seed = {}) {
        Bytes out(codec.encoded_bytes(values.size()) + 8, std::byte{0xA5});
        const std::size_t room = out.size() - 8;
        const std::size_t written = codec.encode(values, residual, std::span(out).first(room), decoded, seed);
        EXPECT_LE(written, room);
        for (std::size_t i = room; i < out.size(); ++i)
            EXPECT_EQ(out[i], std::byte{0xA5}) << "wrote past the end";
        out.resize(written);
        return out;
    }
    static Values decode(const Codec& codec, ByteView bytes, std::size_t count) {
        Values out(count, -7);
        const Status status = codec.decode(bytes, out, 1, false);
        EXPECT_TRUE(status.ok()) << status.error().message;
        return out;
    }

    std::unique_ptr<Codec> codec_ = GetParam().make({});
};

TEST_P(CodecContract, Is_what_its_entry_says) {
    EXPECT_EQ(codec_->name(), GetParam().name);
    EXPECT_EQ(codec_->wire_id(), GetParam().wire_id);
    EXPECT_EQ(find_codec(GetParam().wire_id)->name, GetParam().name);
    EXPECT_EQ(make_codec(GetParam().name, {}).value()->wire_id(), GetParam().wire_id);
    EXPECT_EQ(codec_->lossless(), GetParam().error_max == 0);
}

TEST_P(CodecContract, Decoded_values_are_within_the_stated_error) {
    if (!bounded()) return;
    for (const char* kind : kKinds) {
        for (const std::size_t count : kLengths) {
            const Values values = make_values(kind, count);
            const Values decoded = decode(*codec_, encode(*codec_, values), count);
            for (std::size_t block = 0; block < count; block += kBlock) {
                const std::size_t end = std::min(count, block + kBlock);
                double greatest = 0;
                for (std::size_t i = block; i < end; ++i)
                    greatest = std::max(greatest, std::abs(double{values[i]}));
                const double bound = greatest * GetParam().error_max +
                                     (codec_->lossless() ? 0 : double{std::numeric_limits<float>::min()});
                for (std::size_t i = block; i < end; ++i) {
                    ASSERT_LE(std::abs(double{decoded[i]} - double{values[i]}), bound)
                        << kind << " " << count << " value " << i << " is " << values[i];
                }
            }
        }
    }
}

TEST_P(CodecContract, Residual_and_decoded_give_back_values_and_old_residual_bit_for_bit) {
    for (const char* kind : kKinds) {
        if (!bounded() && std::string(kind) == "huge") continue;  // differences leave the fp32 range
        for (const std::size_t count : kLengths) {
            const Values values = make_values(kind, count);
            Values residual(count);
            Rng rng(count + 1);
            for (std::size_t i = 0; i < count; ++i)
                residual[i] = 0.01F * static_cast<float>(rng.normal()) * values[i];
            Values x(count);
            for (std::size_t i = 0; i < count; ++i) x[i] = values[i] + residual[i];
            Values seen(count);
            const Bytes bytes = encode(*codec_, values, residual, seen);
            const Values decoded = decode(*codec_, bytes, count);
            EXPECT_EQ(bits_of(seen), bits_of(decoded)) << "the sender must know what the receiver sees";
            for (std::size_t i = 0; i < count; ++i) {
                // A value that is far from what is sent for it loses its last bits in the difference.
                const float rounding = bounded() ? 0 : 0x1p-22F * (std::abs(x[i]) + std::abs(decoded[i]));
                ASSERT_NEAR(residual[i] + decoded[i], x[i], rounding)
                    << kind << " " << count << " value " << i;
            }
        }
    }
}

TEST_P(CodecContract, What_else_is_asked_for_does_not_change_the_bytes) {
    for (const std::size_t count : kLengths) {
        const Values values = make_values("normal", count);
        const Bytes plain = encode(*codec_, values);
        Values residual(count, 0);
        Values decoded(count);
        EXPECT_EQ(encode(*codec_, values, residual), plain);
        EXPECT_EQ(encode(*codec_, values, {}, decoded), plain);
        Values in_place = values;
        residual.assign(count, 0);
        EXPECT_EQ(encode(*codec_, in_place, residual, in_place), plain);
        EXPECT_EQ(bits_of(in_place), bits_of(decoded));
        EXPECT_EQ(encode(*codec_, values), plain) << "a codec has no state";
    }
}

TEST_P(CodecContract, Results_do_not_depend_on_the_number_of_threads) {
    const std::size_t count = 200003;
    const Values values = make_values("normal", count);
    Values residual = make_values("outlier", count);
    const Values old_residual = residual;
    const Bytes bytes = encode(*codec_, values, residual);
    Values sum = values;
    ASSERT_TRUE(codec_->decode(bytes, sum, 0.3F, true).ok());
    for (const int threads : {2, 3, 8}) {
        const auto parallel = GetParam().make({.threads = threads});
        Values other = old_residual;
        EXPECT_EQ(encode(*parallel, values, other), bytes);
        EXPECT_EQ(bits_of(other), bits_of(residual));
        Values other_sum = values;
        ASSERT_TRUE(parallel->decode(bytes, other_sum, 0.3F, true).ok());
        EXPECT_EQ(bits_of(other_sum), bits_of(sum));
    }
}

TEST_P(CodecContract, Decoding_scales_and_accumulates_from_any_alignment) {
    for (const std::size_t count : kLengths) {
        const Values values = make_values("normal", count);
        const Bytes bytes = encode(*codec_, values);
        const Values decoded = decode(*codec_, bytes, count);
        Bytes shifted(bytes.size() + 1);
        std::copy(bytes.begin(), bytes.end(), shifted.begin() + 1);
        Values sum(count, 2.5F);
        ASSERT_TRUE(codec_->decode(ByteView(shifted).subspan(1), sum, 0.7F, true).ok());
        Values scaled(count, 2.5F);
        ASSERT_TRUE(codec_->decode(bytes, scaled, 0.7F, false).ok());
        for (std::size_t i = 0; i < count; ++i) {
            ASSERT_EQ(scaled[i], decoded[i] * 0.7F);
            ASSERT_NEAR(sum[i], 2.5F + decoded[i] * 0.7F, 1e-6F * (2.5F + std::abs(decoded[i])));
        }
    }
}

TEST_P(CodecContract, Wrong_length_is_an_error_and_leaves_the_output_alone) {
    for (const std::size_t count : {1U, 255U, 256U, 257U, 1000U}) {
        const Bytes bytes = encode(*codec_, make_values("normal", count));
        Bytes longer = bytes;
        longer.push_back(std::byte{0});
        for (const ByteView wrong :
             {ByteView(bytes).first(bytes.size() - 1), ByteView(bytes).first(0), ByteView(longer)}) {
            Values out(count, 3);
            const Status status = codec_->decode(wrong, out, 1, true);
            ASSERT_FALSE(status.ok());
            EXPECT_EQ(status.error().code, ErrorCode::corrupt);
            EXPECT_EQ(out, Values(count, 3));
        }
    }
}

TEST_P(CodecContract, Garbage_is_refused_untouched_or_gives_finite_values) {
    Rng rng(11);
    int refused = 0;
    for (int trial = 0; trial < 2000; ++trial) {
        const std::size_t count = 1 + rng.below(600);
        Bytes garbage(codec_->encoded_bytes(count));
        for (std::byte& byte : garbage) byte = static_cast<std::byte>(rng.below(256));
        Values out(count, 3);
        if (codec_->decode(garbage, out, 1, false).ok()) {
            for (const float value : out) ASSERT_TRUE(std::isfinite(value));
        } else {
            ++refused;
            ASSERT_EQ(out, Values(count, 3));
        }
    }
    if (!GetParam().sparse) {
        EXPECT_GT(refused, 200) << "random bits are seldom all finite";
    }
}

TEST_P(CodecContract, Values_that_are_not_finite_never_pass) {
    for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()}) {
        for (const std::size_t at : {0U, 100U, 299U}) {
            Values values = make_values("normal", 300);
            values[at] = bad;
            Values out(300, 3);
            EXPECT_FALSE(codec_->decode(encode(*codec_, values), out, 1, false).ok());
            EXPECT_EQ(out, Values(300, 3));
        }
    }
}

TEST_P(CodecContract, Greatest_values_saturate_and_the_residual_keeps_the_rest) {
    if (!bounded()) return;
    const float greatest = std::numeric_limits<float>::max();
    Values values = {greatest, -greatest, 1, greatest};
    Values residual(4, 0);
    const Bytes bytes = encode(*codec_, values, residual);
    const Values decoded = decode(*codec_, bytes, 4);
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_TRUE(std::isfinite(decoded[i]));
        EXPECT_EQ(residual[i] + decoded[i], values[i]);
    }
    EXPECT_GT(decoded[0], (GetParam().error_max < 0.1 ? 0.87F : 0.49F) * greatest);
}

TEST_P(CodecContract, Error_feedback_makes_the_time_average_exact) {
    // The receiver's sum over T steps is off by one residual, not by T rounding errors.
    if (!bounded()) return;
    const std::size_t count = 700;
    const Values values = make_values("normal", count);
    Values residual(count, 0);
    std::vector<double> sum(count, 0);
    const int steps = 400;
    for (int step = 0; step < steps; ++step) {
        const Values decoded = decode(*codec_, encode(*codec_, values, residual), count);
        for (std::size_t i = 0; i < count; ++i) sum[i] += double{decoded[i]};
    }
    for (std::size_t i = 0; i < count; ++i) {
        EXPECT_NEAR(sum[i] / steps, values[i], (5 * GetParam().error_max + 1e-5) * 5 / steps + 1e-6);
    }
}

double norm(const Values& x) {
    double sum = 0;
    for (const float value : x) sum += double{value} * double{value};
    return std::sqrt(sum);
}

TEST_P(CodecContract, Error_feedback_loses_nothing_and_its_residual_stays_bounded) {
    // Karimireddy et al. 2019, lemma 3: the residual stays below 2 sqrt(1 - delta) / delta times |x|, delta
    // at the least what one draws of 64 of 4096 (or 16 of 4096 for directions) leave; whatever was not
    // received is in it.
    const std::size_t count = 700;
    const Values values = make_values("normal", count);
    Values residual(count, 0);
    std::vector<double> sum(count, 0);
    const int steps = 1500;
    for (int step = 0; step < steps; ++step) {
        const auto shared = static_cast<std::uint64_t>(step);
        const CodecSeed seed{.shared = shared * 977, .own = shared * 331};
        const Values decoded = decode(*codec_, encode(*codec_, values, residual, {}, seed), count);
        for (std::size_t i = 0; i < count; ++i) sum[i] += double{decoded[i]};
    }
    for (std::size_t i = 0; i < count; ++i) {
        EXPECT_NEAR(sum[i] + double{residual[i]}, steps * double{values[i]}, 1e-4 * steps) << i;
    }
    EXPECT_LT(norm(residual), 0.35 * steps * norm(values));
}

TEST_P(CodecContract, At_random_rounding_the_mean_is_exact_and_the_bytes_follow_from_the_seed) {
    if (!GetParam().unbiased) return;
    const auto codec = GetParam().make({.stochastic = true});
    const std::size_t count = 300;
    const Values values = make_values("normal", count);
    std::vector<double> sum(count, 0), squares(count, 0);
    const int draws = 3000;
    double largest = 0;
    for (const float value : values) largest = std::max(largest, std::abs(double{value}));
    for (int draw = 0; draw < draws; ++draw) {
        const auto number = static_cast<std::uint64_t>(draw);
        const Values decoded =
            decode(*codec, encode(*codec, values, {}, {}, {.shared = number, .own = number}), count);
        for (std::size_t i = 0; i < count; ++i) {
            sum[i] += double{decoded[i]};
            squares[i] += double{decoded[i]} * double{decoded[i]};
        }
    }
    for (std::size_t i = 0; i < count; ++i) {
        const double mean = sum[i] / draws;
        const double sampled = std::max(squares[i] / draws - mean * mean, 0.0);
        // Of a value that is sent as 0 or +-largest, even if it never was.
        const double drawn = std::abs(double{values[i]}) * largest;
        const double deviation = std::sqrt(std::max(sampled, drawn) / draws);
        EXPECT_NEAR(mean, values[i], 5 * deviation + 1e-3 * std::abs(values[i]) + 1e-6) << i;
    }
    const CodecSeed seed{.shared = 3, .own = 4};
    EXPECT_EQ(encode(*codec, values, {}, {}, seed), encode(*codec, values, {}, {}, seed));
    const auto parallel = GetParam().make({.threads = 3, .stochastic = true});
    const Values many = make_values("normal", 200003);
    EXPECT_EQ(encode(*codec, many, {}, {}, seed), encode(*parallel, many, {}, {}, seed));
}

TEST_P(CodecContract, A_long_vector_costs_the_stated_bits) {
    if (GetParam().name == "low_rank") return;  // depends on shapes: low_rank_test
    const std::size_t count = 1U << 22U;
    const double bits = 8.0 * static_cast<double>(codec_->encoded_bytes(count)) / static_cast<double>(count);
    EXPECT_NEAR(bits, GetParam().bits, 0.002 * GetParam().bits);
}

INSTANTIATE_TEST_SUITE_P(Table, CodecContract, testing::ValuesIn(codecs().begin(), codecs().end()),
                         [](const auto& tested) { return std::string(tested.param.name); });

}  // namespace
}  // namespace Atoll::gossip
