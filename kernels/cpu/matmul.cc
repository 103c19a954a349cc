#include "kernels/cpu/matmul.h"

#include <hwy/targets.h>

#include <algorithm>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/onednn.h"
#include "kernels/cpu/packed_products.h"

namespace Atoll::kernels::cpu {

namespace {

// Below this many multiply-adds a second thread costs more than it gives (about 5 us to wake and join).
constexpr double kParallelWork = 250e3;
// A tile of this many takes about a millisecond: the end of a product is never far from even, whatever else
// runs on the cores.
constexpr double kTileWork = 40e6;
constexpr Index kGrain =
    48;  // tiles are cut on whole register tiles, so that only the last one has a ragged edge

// With fewer rows (generation) packing B costs more than the product; oneDNN then reads it in place.
constexpr Index kRowsToPack = 8;

struct Grid {
    Index rows = 1, columns = 1;  // tiles down and across
    Index tile_m = 0, tile_n = 0;
};

Index rounded_up(Index size, Index grain) { return (size + grain - 1) / grain * grain; }

// Cuts C into tiles so that what the tiles read (and pack) of A and B together is least.
// oneDNN packs large tiles only, so it gets one a thread.
Grid cut(Index m, Index n, Index k, int threads, TileEngine engine) {
    const double work = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
    Grid best{1, 1, m, n};
    if (threads == 1 || work < kParallelWork) return best;
    const double most = engine == TileEngine::own ? 4 : 1;
    const auto rounds = static_cast<Index>(std::clamp(work / kTileWork / threads, 1.0, most));
    const Index tiles = rounds * threads;
    double least = 0;
    for (Index rows = 1; rows <= tiles; ++rows) {
        const Index columns = tiles / rows;
        if (rows * columns != tiles) continue;
        const Index tile_m = rounded_up((m + rows - 1) / rows, kGrain);
        const Index tile_n = rounded_up((n + columns - 1) / columns, kGrain);
        const Grid grid{(m + tile_m - 1) / tile_m, (n + tile_n - 1) / tile_n, tile_m, tile_n};
        // The longest share of one thread, in multiply-adds, and 16 of them for each float read.
        const Index parts = grid.rows * grid.columns;
        const double share = static_cast<double>((parts + threads - 1) / threads);
        const double tile = static_cast<double>(std::min(m, tile_m)) *
                            static_cast<double>(std::min(n, tile_n)) * static_cast<double>(k);
        const double read = static_cast<double>((std::min(m, tile_m) + std::min(n, tile_n)) * k);
        const double cost = share * (tile + 16 * read);
        if (least == 0 || cost < least) {
            least = cost;
            best = grid;
        }
    }
    return best;
}

}  // namespace

TileEngine best_tile_engine() {
    return (hwy::SupportedTargets() & HWY_AVX3) != 0 ? TileEngine::onednn : TileEngine::own;
}

struct Products::State {
    Context& context;
    TileEngine engine;
    std::unique_ptr<PackedProducts> bf16;  // nullptr where the CPU has no bf16 products
};

Products::Products(Context& context, TileEngine engine) : state_(new State{context, engine, nullptr}) {
    if (has_bf16_products()) state_->bf16 = std::make_unique<PackedProducts>(context, Element::bf16);
}
Products::~Products() = default;

void Products::weights_changed() {
    if (fast_bf16()) state_->bf16->weights_changed();
}
bool Products::fast_bf16() const { return state_->bf16 != nullptr; }

void Products::run(const Matmul& p) {
    if (p.m == 0 || p.n == 0) return;
    if (p.precision == Precision::bf16 && fast_bf16() && state_->bf16->run(p)) return;
    const Index a_row = p.transpose_a ? 1 : p.k;
    const Index a_column = p.transpose_a ? p.m : 1;
    const Index b_row = p.transpose_b ? 1 : p.n;
    const Index b_column = p.transpose_b ? p.k : 1;
    const Grid grid = cut(p.m, p.n, p.k, state_->context.threads(), state_->engine);
    const std::size_t floats = gemm_scratch(grid.tile_m, grid.tile_n, p.k);
    const bool round = p.precision == Precision::bf16;
    state_->context.run(static_cast<std::size_t>(grid.rows * grid.columns),
                        [&](std::size_t slot, std::size_t part) {
                            const Index m0 = static_cast<Index>(part) % grid.rows * grid.tile_m;
                            const Index n0 = static_cast<Index>(part) / grid.rows * grid.tile_n;
                            const Gemm tile{.a = p.a + m0 * a_row,
                                            .a_row = a_row,
                                            .a_column = a_column,
                                            .b = p.b + n0 * b_column,
                                            .b_row = b_row,
                                            .b_column = b_column,
                                            .c = p.c + m0 * p.n + n0,
                                            .c_row = p.n,
                                            .m = std::min(grid.tile_m, p.m - m0),
                                            .n = std::min(grid.tile_n, p.n - n0),
                                            .k = p.k,
                                            .bias = p.bias == nullptr ? nullptr : p.bias + n0,
                                            .accumulate = p.accumulate,
                                            .round_bf16 = round};
                            if (round || (state_->engine == TileEngine::own && p.m >= kRowsToPack)) {
                                gemm(tile, state_->context.slot_scratch(slot, floats));
                            } else {
                                onednn_gemm(tile);
                            }
                        });
}

}  // namespace Atoll::kernels::cpu
