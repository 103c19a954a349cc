// The whole coordinate check (docs/experiments.md): activations after ten steps over widths 64 to 1024 and
// depths 2 to 64, as a table.
#include <fmt/core.h>

#include "tests/model/coordinate.h"

namespace {

using Atoll::model::ModelConfig;

constexpr std::int64_t kWidth = 64, kLayers = 2;  // the base

ModelConfig shape(const char* parameterization, std::int64_t width, std::int64_t layers) {
    return {.family = "llama",
            .vocabulary = 128,
            .context = 32,
            .layers = layers,
            .heads = width / 32,
            .kv_heads = width / 32,
            .width = width,
            .inner = 3 * width,
            .head_dim = 32,
            .tied_head = false,
            .parameterization = parameterization,
            .base_width = kWidth,
            .base_layers = kLayers};
}

}  // namespace

int main() {
    const auto ops = Atoll::kernels::make_cpu_ops(0);
    const auto row = [&](std::int64_t width, std::int64_t layers) {
        fmt::print("| {} | {} |", width, layers);
        for (const char* name : {"standard", "mup", "completep"})
            fmt::print(" {:.3f} |", mean_coordinate(*ops, shape(name, width, layers), 10));
        fmt::print("\n");
        std::fflush(stdout);
    };
    fmt::print("| width | layers | standard | mup | completep |\n| --- | --- | --- | --- | --- |\n");
    for (const std::int64_t width : {64, 128, 256, 512, 1024}) row(width, kLayers);
    for (const std::int64_t layers : {4, 8, 16, 32, 64}) row(kWidth, layers);
}
