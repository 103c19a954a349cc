// Low rank, after PowerSGD (Vogels et al. 2019, arXiv 1905.13727, algorithm 1): each matrix M [n, m] of the
// layout is sent as two factors P [n, r] and Q [m, r], decoded = P Q^T:
//   Q drawn from the shared seed; twice: P = orthonormal basis of M Q, Q = M^T P
// The codec keeps no state: instead of PowerSGD's warm start a second iteration follows. Vectors travel as
// they are. A vector that is not the whole layout is cut into matrices of 256 x 256 and one smaller.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/rng.h"
#include "gossip/codec/entries.h"
#include "kernels/cpu/gemm.h"
#include "kernels/flat.h"
#include "kernels/quantize/quantize.h"

namespace Atoll::gossip {

namespace {

using kernels::Index;
constexpr std::size_t kSide = 256;

// A stretch of the vector: a matrix of `rows` full rows (the last one filled up with zeros), or, with rank 0,
// values sent as they are.
struct Piece {
    std::size_t begin = 0, count = 0;
    Index rows = 0, columns = 0, rank = 0;
    [[nodiscard]] std::size_t floats() const {
        return rank == 0 ? count : static_cast<std::size_t>(rank * (rows + columns));
    }
};

Piece make_piece(std::size_t begin, std::size_t count, Index rows, Index columns, Index rank) {
    const bool pays = rank * (rows + columns) < static_cast<Index>(count);
    return {begin, count, rows, columns, pays ? rank : 0};
}

// Single-threaded products with 64-byte aligned scratch.
class Products {
  public:
    // c [m, n] = a [m, k] b [k, n], or a stored as [k, m].
    void run(const float* a, bool transpose_a, const float* b, bool transpose_b, float* c, Index m, Index n,
             Index k) {
        const std::size_t scratch = kernels::cpu::gemm_scratch(m, n, k);
        if (scratch_.size() < scratch) scratch_ = kernels::FlatBuffer(scratch);
        kernels::cpu::gemm({.a = a,
                            .a_row = transpose_a ? 1 : k,
                            .a_column = transpose_a ? m : 1,
                            .b = b,
                            .b_row = transpose_b ? 1 : n,
                            .b_column = transpose_b ? k : 1,
                            .c = c,
                            .c_row = n,
                            .m = m,
                            .n = n,
                            .k = k},
                           scratch_.data());
    }

  private:
    kernels::FlatBuffer scratch_;
};

// Columns of p [rows, rank] made orthonormal (modified Gram-Schmidt, in double); a column that vanishes stays
// zero.
void orthonormalize(float* p, Index rows, Index rank) {
    for (Index j = 0; j < rank; ++j) {
        for (Index i = 0; i <= j; ++i) {
            double dot = 0;
            for (Index r = 0; r < rows; ++r) {
                dot += static_cast<double>(p[r * rank + i]) * static_cast<double>(p[r * rank + j]);
            }
            if (i == j) {
                const double inverse = dot > 1e-60 ? 1 / std::sqrt(dot) : 0;
                for (Index r = 0; r < rows; ++r) {
                    p[r * rank + j] = static_cast<float>(static_cast<double>(p[r * rank + j]) * inverse);
                }
            } else {
                for (Index r = 0; r < rows; ++r) p[r * rank + j] -= static_cast<float>(dot) * p[r * rank + i];
            }
        }
    }
}

class LowRank final : public Codec {
  public:
    explicit LowRank(const CodecOptions& options) : rank_(options.rank), layout_(options.layout) {}

    [[nodiscard]] std::string_view name() const override { return "low_rank"; }
    [[nodiscard]] std::uint8_t wire_id() const override { return 11; }
    [[nodiscard]] bool lossless() const override { return false; }
    [[nodiscard]] std::size_t encoded_bytes(std::size_t count) const override {
        std::size_t floats = 0;
        for (const Piece& piece : pieces(count)) floats += piece.floats();
        return floats * sizeof(float);
    }

    std::size_t encode(std::span<const float> values, std::span<float> residual, std::span<std::byte> out,
                       std::span<float> decoded, const CodecSeed& seed) const override {
        const std::size_t bytes = encoded_bytes(values.size());
        ATOLL_CHECK(out.size() >= bytes);
        std::vector<float> x(values.begin(), values.end());
        for (std::size_t i = 0; i < residual.size(); ++i) x[i] += residual[i];
        if (!kernels::all_finite_fp32(reinterpret_cast<const std::byte*>(x.data()), x.size())) {
            std::fill_n(out.begin(), bytes, std::byte{0xFF});  // NaN
            return bytes;
        }
        std::byte* to = out.data();
        std::size_t index = 0;
        for (const Piece& piece : pieces(values.size())) {
            const std::vector<float> sent =
                factor(piece, x.data() + piece.begin, mix64(seed.shared ^ mix64(++index)));
            std::memcpy(to, sent.data(), sent.size() * sizeof(float));
            to += sent.size() * sizeof(float);
        }
        if (residual.empty() && decoded.empty()) return bytes;
        std::vector<float> seen(values.size());
        if (!decode(ByteView(out).first(bytes), seen, 1, false).ok()) {
            std::fill_n(out.begin(), bytes, std::byte{0xFF});
            return bytes;
        }
        for (std::size_t i = 0; i < residual.size(); ++i) residual[i] = x[i] - seen[i];
        std::copy_n(seen.begin(), decoded.size(), decoded.begin());
        return bytes;
    }

    [[nodiscard]] Status decode(ByteView bytes, std::span<float> out, float scale,
                                bool accumulate) const override {
        if (bytes.size() != encoded_bytes(out.size())) {
            return wrong_length(name(), bytes.size(), out.size(), encoded_bytes(out.size()));
        }
        std::vector<float> seen(out.size(), 0.0F);  // what lies between the tensors of a layout stays zero
        const std::byte* from = bytes.data();
        for (const Piece& piece : pieces(out.size())) {
            std::vector<float> sent(piece.floats());
            std::memcpy(sent.data(), from, sent.size() * sizeof(float));
            from += sent.size() * sizeof(float);
            multiply(piece, sent, seen.data() + piece.begin);
        }
        if (!kernels::all_finite_fp32(reinterpret_cast<const std::byte*>(seen.data()), seen.size())) {
            return Error{ErrorCode::corrupt, "a value in codec low_rank is not finite"};
        }
        for (std::size_t i = 0; i < out.size(); ++i)
            out[i] = accumulate ? out[i] + seen[i] * scale : seen[i] * scale;
        return {};
    }

  private:
    [[nodiscard]] std::vector<Piece> pieces(std::size_t count) const {
        std::vector<Piece> list;
        if (layout_ != nullptr && count == layout_->size()) {
            for (const kernels::TensorSlot& slot : layout_->slots()) {
                const bool matrix = slot.shape.size() == 2;
                list.push_back(matrix
                                   ? make_piece(slot.offset, slot.size, slot.shape[0], slot.shape[1], rank_)
                                   : Piece{slot.offset, slot.size});
            }
            return list;
        }
        for (std::size_t begin = 0; begin < count; begin += kSide * kSide) {
            const std::size_t size = std::min(kSide * kSide, count - begin);
            const auto columns = static_cast<Index>(std::ceil(std::sqrt(static_cast<double>(size))));
            const Index rows = (static_cast<Index>(size) + columns - 1) / columns;
            list.push_back(make_piece(begin, size, rows, columns, rank_));
        }
        return list;
    }

    // P, then Q; or the values.
    [[nodiscard]] static std::vector<float> factor(const Piece& piece, const float* x, std::uint64_t seed) {
        if (piece.rank == 0) return {x, x + piece.count};
        std::vector<float> matrix(static_cast<std::size_t>(piece.rows * piece.columns), 0.0F);
        std::copy_n(x, piece.count, matrix.begin());
        std::vector<float> sent(piece.floats());
        float* const p = sent.data();
        float* const q = p + piece.rows * piece.rank;
        Rng rng(seed);
        for (Index i = 0; i < piece.columns * piece.rank; ++i) q[i] = static_cast<float>(rng.normal());
        Products products;
        constexpr int kIterations = 2;
        for (int i = 0; i < kIterations; ++i) {
            products.run(matrix.data(), false, q, false, p, piece.rows, piece.rank, piece.columns);
            orthonormalize(p, piece.rows, piece.rank);
            products.run(matrix.data(), true, p, false, q, piece.columns, piece.rank, piece.rows);
        }
        for (float& value : sent)
            value = std::isfinite(value) ? value : 0;  // sums may overflow at the very end
        return sent;
    }

    static void multiply(const Piece& piece, const std::vector<float>& sent, float* out) {
        if (piece.rank == 0) {
            std::ranges::copy(sent, out);
            return;
        }
        std::vector<float> matrix(static_cast<std::size_t>(piece.rows * piece.columns));
        Products().run(sent.data(), false, sent.data() + piece.rows * piece.rank, true, matrix.data(),
                       piece.rows, piece.columns, piece.rank);
        std::copy_n(matrix.begin(), piece.count, out);
    }

    Index rank_;
    const kernels::Layout* layout_;
};

}  // namespace

std::unique_ptr<Codec> make_low_rank_codec(const CodecOptions& options) {
    return std::make_unique<LowRank>(options);
}

}  // namespace Atoll::gossip
