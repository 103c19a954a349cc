// Tensors on their way from a flat buffer into a file: the number formats of files, and values in blocks of
// stored bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace Atoll::model {

// The number formats of safetensors, in its order (a file has the tensors of the last ones first).
enum class DType {
    boolean,
    f4,
    f6_e2m3,
    f6_e3m2,
    u8,
    i8,
    f8_e5m2,
    f8_e4m3,
    f8_e8m0,
    f8_e4m3fnuz,
    f8_e5m2fnuz,
    i16,
    u16,
    f16,
    bf16,
    i32,
    u32,
    f32,
    c64,
    f64,
    i64,
    u64,
};
[[nodiscard]] std::string_view dtype_name(DType dtype);
[[nodiscard]] std::optional<DType> find_dtype(std::string_view name);
[[nodiscard]] std::uint64_t dtype_bits(DType dtype);

// A tensor to be written from floats.
struct TensorToWrite {
    std::string name;
    std::vector<std::int64_t> shape;  // as stored
    std::span<const float> values;
    DType dtype = DType::f32;  // f32, f16 or bf16
    bool transpose = false;    // `values` is [shape[1], shape[0]]; stored is its transpose

    [[nodiscard]] std::uint64_t bytes() const { return values.size() * dtype_bits(dtype) / 8; }
};

// Feeds the tensor to `sink` as stored bytes, in order, in blocks of some hundred KiB. Precondition: the
// shape has as many elements as there are values. Errors: the sink's first one.
[[nodiscard]] Status write_blocks(const TensorToWrite& tensor, const std::function<Status(ByteView)>& sink);

// Stored values as floats. Precondition: dtype is f32, f16 or bf16 and `stored` holds out.size() of them.
void read_values(ByteView stored, DType dtype, std::span<float> out);

// out[c][r] = in[r][c]. Preconditions: both have rows * columns elements and do not overlap.
void transpose(std::span<const float> in, std::int64_t rows, std::int64_t columns, std::span<float> out);

}  // namespace Atoll::model
