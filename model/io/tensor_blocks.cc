#include "model/io/tensor_blocks.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "model/io/half.h"

namespace Atoll::model {

namespace {

struct Format {
    std::string_view name;
    std::uint64_t bits;
};
constexpr std::array<Format, 22> kFormats{
    {{"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
     {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
     {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
     {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64}}};
static_assert(static_cast<std::size_t>(DType::u64) + 1 == kFormats.size());

constexpr std::size_t kBlockFloats = std::size_t{1} << 16U;

// Encodes floats as stored bytes; f32 is passed through.
Status emit(std::span<const float> values, DType dtype, std::vector<std::uint16_t>& scratch,
            const std::function<Status(ByteView)>& sink) {
    if (dtype == DType::f32) return sink(std::as_bytes(values));
    scratch.resize(values.size());
    std::transform(values.begin(), values.end(), scratch.begin(), dtype == DType::f16 ? to_f16 : to_bf16);
    return sink(std::as_bytes(std::span<const std::uint16_t>(scratch)));
}

}  // namespace

std::string_view dtype_name(DType dtype) { return kFormats[static_cast<std::size_t>(dtype)].name; }

std::optional<DType> find_dtype(std::string_view name) {
    for (std::size_t i = 0; i < kFormats.size(); ++i) {
        if (kFormats[i].name == name) return static_cast<DType>(i);
    }
    return std::nullopt;
}

std::uint64_t dtype_bits(DType dtype) { return kFormats[static_cast<std::size_t>(dtype)].bits; }

Status write_blocks(const TensorToWrite& tensor, const std::function<Status(ByteView)>& sink) {
    ATOLL_CHECK(tensor.dtype == DType::f32 || tensor.dtype == DType::f16 || tensor.dtype == DType::bf16);
    std::vector<std::uint16_t> scratch;
    if (!tensor.transpose) {
        for (std::size_t begin = 0; begin < tensor.values.size(); begin += kBlockFloats) {
            const std::size_t count = std::min(kBlockFloats, tensor.values.size() - begin);
            ATOLL_TRY(emit(tensor.values.subspan(begin, count), tensor.dtype, scratch, sink));
        }
        return {};
    }
    ATOLL_CHECK(tensor.shape.size() == 2);
    const auto rows = static_cast<std::size_t>(tensor.shape[0]);
    const auto columns = static_cast<std::size_t>(tensor.shape[1]);
    ATOLL_CHECK(rows * columns == tensor.values.size());
    const std::size_t rows_at_once = std::max<std::size_t>(1, kBlockFloats / columns);
    std::vector<float> block(rows_at_once * columns);
    for (std::size_t begin = 0; begin < rows; begin += rows_at_once) {
        const std::size_t count = std::min(rows_at_once, rows - begin);
        for (std::size_t column = 0; column < columns; ++column) {
            const float* source = tensor.values.data() + column * rows + begin;
            for (std::size_t row = 0; row < count; ++row) block[row * columns + column] = source[row];
        }
        ATOLL_TRY(emit(std::span(block).first(count * columns), tensor.dtype, scratch, sink));
    }
    return {};
}

void read_values(ByteView stored, DType dtype, std::span<float> out) {
    ATOLL_CHECK(stored.size() == out.size() * dtype_bits(dtype) / 8);
    if (dtype == DType::f32) {
        if (!out.empty()) std::memcpy(out.data(), stored.data(), stored.size());
        return;
    }
    const auto convert = dtype == DType::f16 ? from_f16 : from_bf16;
    for (std::size_t i = 0; i < out.size(); ++i) {
        std::uint16_t bits = 0;
        std::memcpy(&bits, stored.data() + i * sizeof bits, sizeof bits);
        out[i] = convert(bits);
    }
}

void transpose(std::span<const float> in, std::int64_t rows, std::int64_t columns, std::span<float> out) {
    const auto height = static_cast<std::size_t>(rows);
    const auto width = static_cast<std::size_t>(columns);
    ATOLL_CHECK(in.size() == height * width && out.size() == in.size());
    constexpr std::size_t kTile = 32;
    for (std::size_t r0 = 0; r0 < height; r0 += kTile) {
        for (std::size_t c0 = 0; c0 < width; c0 += kTile) {
            for (std::size_t r = r0; r < std::min(height, r0 + kTile); ++r) {
                for (std::size_t c = c0; c < std::min(width, c0 + kTile); ++c)
                    out[c * height + r] = in[r * width + c];
            }
        }
    }
}

}  // namespace Atoll::model
