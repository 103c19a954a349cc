// A codec: how many bits a value costs on the wire. Stateless; the residual of error feedback belongs to the
// caller.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace Atoll::kernels {
class Layout;
}

namespace Atoll::gossip {

// What a codec's random choices follow from, new for every call: choices that all members must share (which
// coordinates are sent) and choices that must not be the same at two members (the noise of rounding).
struct CodecSeed {
    std::uint64_t shared = 0;
    std::uint64_t own = 0;
};

class Codec {
  public:
    virtual ~Codec() = default;
    [[nodiscard]] virtual std::string_view name() const = 0;
    [[nodiscard]] virtual std::uint8_t wire_id() const = 0;  // never changes, never reused
    // Exact size of `count` encoded values (an upper bound for codecs of variable size).
    [[nodiscard]] virtual std::size_t encoded_bytes(std::size_t count) const = 0;
    [[nodiscard]] virtual bool lossless() const = 0;

    // Encodes x = values (+ residual, if given) in one pass over memory; out has encoded_bytes(values.size())
    // bytes. residual, if not empty, becomes x - decoded(x) (error feedback, Seide et al. 2014); decoded, if
    // not empty, receives what the receiver will see. `residual` may not alias `values`; `decoded` may alias
    // `values`. The bytes are a function of x and `seed` alone. Returns the bytes written. Precondition:
    // values are finite.
    virtual std::size_t encode(std::span<const float> values, std::span<float> residual,
                               std::span<std::byte> out, std::span<float> decoded,
                               const CodecSeed& seed) const = 0;

    // out[i] = decoded value * scale, or += if accumulate. Errors (corrupt): wrong length, a non-finite scale
    // or value; then `out` is untouched.
    [[nodiscard]] virtual Status decode(ByteView bytes, std::span<float> out, float scale,
                                        bool accumulate) const = 0;
};

struct CodecOptions {
    int threads = 1;          // the caller included
    bool stochastic = false;  // round at random so that the mean is exact (unbiased), where a codec can
    double density = 0;       // fraction of the values that a sparse codec sends; 0 = its own default
    std::int64_t rank = 4;    // of the factors of low_rank
    const kernels::Layout* layout = nullptr;  // shapes of the flat vector, for codecs that see matrices
};

struct CodecEntry {
    std::string_view name;
    std::uint8_t wire_id;
    std::string_view summary;
    std::string_view source;
    double bits;  // a value, in long vectors, at the codec's own density
    // |decoded - x| is at most this times the largest magnitude among the 256 values around x (plus 2^-126,
    // the smallest normal number; magnitudes beyond 3.3e38 for bf16 and int8_block, 2.9e38 for int4_block,
    // 1.7e38 for e3m0 saturate). 1 or more: no useful bound on single values.
    double error_max;
    // Sends a part of the values (or of another basis): of no use without error feedback, or as the
    // parameters themselves.
    bool sparse;
    // Has a variant whose mean is exact (CodecOptions::stochastic).
    bool unbiased;
    std::unique_ptr<Codec> (*make)(const CodecOptions& options);
};

// Every codec, in order of wire id.
[[nodiscard]] std::span<const CodecEntry> codecs();
// Errors (invalid): unknown name, with the nearest known one.
[[nodiscard]] Result<std::unique_ptr<Codec>> make_codec(std::string_view name, const CodecOptions& options);
// nullptr for an unknown id.
[[nodiscard]] const CodecEntry* find_codec(std::uint8_t wire_id);

}  // namespace Atoll::gossip
