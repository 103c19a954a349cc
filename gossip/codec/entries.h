// The codecs' makers, for the table in registry.cc, and the pool that they share the work of large vectors
// among.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "gossip/codec/codec.h"
#include "kernels/parallel.h"

namespace Atoll::gossip {

[[nodiscard]] std::unique_ptr<Codec> make_none_codec(const CodecOptions& options);
[[nodiscard]] std::unique_ptr<Codec> make_bf16_codec(const CodecOptions& options);
[[nodiscard]] std::unique_ptr<Codec> make_int8_block_codec(const CodecOptions& options);
[[nodiscard]] std::unique_ptr<Codec> make_int4_block_codec(const CodecOptions& options);
[[nodiscard]] std::unique_ptr<Codec> make_fp16_codec(const CodecOptions& options);
[[nodiscard]] std::unique_ptr<Codec> make_e3m0_codec(const CodecOptions& options);
[[nodiscard]] std::unique_ptr<Codec> make_sign_codec(const CodecOptions& options);
[[nodiscard]] std::unique_ptr<Codec> make_ternary_codec(const CodecOptions& options);
[[nodiscard]] std::unique_ptr<Codec> make_topk_codec(const CodecOptions& options);
[[nodiscard]] std::unique_ptr<Codec> make_random_k_codec(const CodecOptions& options);
[[nodiscard]] std::unique_ptr<Codec> make_dct_topk_codec(const CodecOptions& options);
[[nodiscard]] std::unique_ptr<Codec> make_low_rank_codec(const CodecOptions& options);
[[nodiscard]] std::unique_ptr<Codec> make_seeds_codec(const CodecOptions& options);

// Cuts a vector among threads on block boundaries: the bytes are the same for any number of threads.
class CodecThreads {
  public:
    // threads, the caller included; <= 1: only the caller.
    explicit CodecThreads(int threads);
    void run(std::size_t count, const std::function<void(std::size_t begin, std::size_t end)>& task) const;
    // The same for `parts` pieces of work on `count` values.
    void run_parts(std::size_t parts, std::size_t count,
                   const std::function<void(std::size_t begin, std::size_t end)>& task) const;

  private:
    std::unique_ptr<kernels::ThreadPool> pool_;  // nullptr: the caller alone
};

// The error of a payload of the wrong length.
[[nodiscard]] Error wrong_length(std::string_view codec, std::size_t bytes, std::size_t count,
                                 std::size_t expected);

}  // namespace Atoll::gossip
