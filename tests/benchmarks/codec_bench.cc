// Speed of every codec beside memcpy on the same buffer: GB of fp32 a second that are encoded or decoded, and
// the memory bandwidth used (bytes read and written) as a fraction of memcpy's in the same run.
//
//     codec_bench [MiB of fp32, default 128] [repetitions, default 15]
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>

#include "base/rng.h"
#include "gossip/codec/codec.h"
#include "kernels/flat.h"
#include "kernels/parallel.h"

namespace {

using namespace Atoll;

// The best of several: on a shared machine the only figure that says what the code can do.
double best_seconds(int repetitions, const std::function<void()>& work) {
    work();  // page faults and sleeping threads
    double best = std::numeric_limits<double>::infinity();
    for (int i = 0; i < repetitions; ++i) {
        const auto start = std::chrono::steady_clock::now();
        work();
        best =
            std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best;
}

struct Buffers {
    kernels::FlatBuffer values;
    kernels::FlatBuffer residual;
    kernels::FlatBuffer decoded;
    kernels::FlatBuffer encoded;  // 4 bytes a value are enough for every codec
};

void report(std::string_view what, int threads, double fp32_bytes, double moved_bytes, double seconds,
            double memcpy_rate) {
    fmt::print("{:32} {:>7} {:>12.2f} {:>12.2f} {:>10.2f}\n", what, threads, fp32_bytes / seconds * 1e-9,
               moved_bytes / seconds * 1e-9, moved_bytes / seconds / memcpy_rate);
}

void run_codec(const gossip::CodecEntry& entry, int threads, Buffers& buffers, int repetitions,
               double memcpy_rate) {
    const auto codec = entry.make({.threads = threads});
    const std::span<float> values = buffers.values.span();
    const auto fp32_bytes = static_cast<double>(values.size_bytes());
    const auto out =
        std::as_writable_bytes(buffers.encoded.span()).first(codec->encoded_bytes(values.size()));
    const auto encoded_bytes = static_cast<double>(out.size());
    const std::string name(entry.name);
    const double encode = best_seconds(repetitions, [&] { codec->encode(values, {}, out, {}, {}); });
    report(name + " encode", threads, fp32_bytes, fp32_bytes + encoded_bytes, encode, memcpy_rate);
    const double feedback =
        best_seconds(repetitions, [&] { codec->encode(values, buffers.residual.span(), out, {}, {}); });
    report(name + " encode, feedback", threads, fp32_bytes, 3 * fp32_bytes + encoded_bytes, feedback,
           memcpy_rate);
    const double decode =
        best_seconds(repetitions, [&] { (void)codec->decode(out, buffers.decoded.span(), 1, false); });
    report(name + " decode", threads, fp32_bytes, fp32_bytes + encoded_bytes, decode, memcpy_rate);
    const double accumulate =
        best_seconds(repetitions, [&] { (void)codec->decode(out, buffers.decoded.span(), 0.5F, true); });
    report(name + " decode, accumulate", threads, fp32_bytes, 2 * fp32_bytes + encoded_bytes, accumulate,
           memcpy_rate);
}

}  // namespace

int main(int argc, char** argv) {
    const long mebibytes = argc > 1 ? std::atol(argv[1]) : 128;
    const int repetitions = argc > 2 ? std::atoi(argv[2]) : 15;
    if (mebibytes < 1 || mebibytes > 16384 || repetitions < 1) {
        fmt::print(stderr, "usage: codec_bench [MiB of fp32, 1 to 16384] [repetitions]\n");
        return 2;
    }
    const std::size_t count = static_cast<std::size_t>(mebibytes) << 18U;
    Buffers buffers{kernels::FlatBuffer(count), kernels::FlatBuffer(count), kernels::FlatBuffer(count),
                    kernels::FlatBuffer(count)};
    Rng rng(1);
    for (float& value : buffers.values.span()) value = static_cast<float>(rng.uniform()) - 0.5F;

    fmt::print("{} MiB of fp32, best of {}\n", mebibytes, repetitions);
    fmt::print("{:32} {:>7} {:>12} {:>12} {:>10}\n", "", "threads", "fp32 GB/s", "moved GB/s", "of memcpy");
    for (const int threads : {1, 2}) {
        kernels::ThreadPool pool(threads);
        const auto bytes = static_cast<double>(count * sizeof(float));
        const double seconds = best_seconds(repetitions, [&] {
            pool.range(count, 1024, [&](std::size_t begin, std::size_t end) {
                std::memcpy(buffers.decoded.data() + begin, buffers.values.data() + begin,
                            (end - begin) * sizeof(float));
            });
        });
        const double memcpy_rate = 2 * bytes / seconds;
        report("memcpy", threads, bytes, 2 * bytes, seconds, memcpy_rate);
        for (const gossip::CodecEntry& entry : gossip::codecs()) {
            run_codec(entry, threads, buffers, repetitions, memcpy_rate);
        }
    }
    return 0;
}
