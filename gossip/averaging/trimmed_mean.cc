// Coordinate-wise trimmed mean (Yin et al. 2018, arXiv 1803.01498, definition 2): of the m values of each
// coordinate the f smallest and the f largest are left out, the mean of the others is taken.
//
// Breakdown point: with at most f liars among m the result lies, in every coordinate, between the smallest
// and the largest honest value, whatever they send. f is `averaging.trim_fraction` of m, rounded up, and at
// most (m - 1) / 2, with which it is the median.
#include <algorithm>
#include <cmath>

#include "gossip/averaging/entries.h"
#include "gossip/averaging/robust.h"

namespace Atoll::gossip {

namespace {

constexpr std::size_t kStrip = 1024;  // values of all rows at a time: they stay in the caches

// Sorts so far that the `cut` smallest and the `cut` largest of each column are in the first and the last
// rows.
void sort_ends(std::span<const std::span<float>> rows, std::size_t cut, std::size_t begin, std::size_t end) {
    const auto order = [&](std::size_t low, std::size_t high) {
        float* const a = rows[low].data();
        float* const b = rows[high].data();
        for (std::size_t i = begin; i < end; ++i) {
            const float least = std::min(a[i], b[i]);
            b[i] = std::max(a[i], b[i]);
            a[i] = least;
        }
    };
    const std::size_t m = rows.size();
    for (std::size_t pass = 0; pass < cut; ++pass) {
        for (std::size_t row = pass; row + 1 < m - pass; ++row) order(row, row + 1);  // largest to the end
        for (std::size_t row = m - pass - 2; row > pass; --row) order(row - 1, row);  // smallest to the front
    }
}

class TrimmedMean final : public Aggregate {
  public:
    explicit TrimmedMean(double fraction) : fraction_(fraction) {}

    Status apply(Opinions& opinions) const override {
        const std::size_t m = opinions.size();
        const auto wanted = static_cast<std::size_t>(std::ceil(fraction_ * static_cast<double>(m) - 1e-9));
        const std::size_t cut = std::min(wanted, (m - 1) / 2);
        const auto share = 1 / static_cast<float>(m - 2 * cut);
        for (const Packing::Piece& piece : opinions.pieces()) {
            ATOLL_ASSIGN(const auto rows, opinions.rows(piece));
            const std::span<float> result = opinions.result(piece);
            for (std::size_t begin = 0; begin < piece.count; begin += kStrip) {
                const std::size_t end = std::min(piece.count, begin + kStrip);
                sort_ends(rows, cut, begin, end);
                std::fill(result.begin() + static_cast<std::ptrdiff_t>(begin),
                          result.begin() + static_cast<std::ptrdiff_t>(end), 0.0F);
                for (std::size_t row = cut; row < m - cut; ++row) {
                    for (std::size_t i = begin; i < end; ++i) result[i] += share * rows[row][i];
                }
            }
        }
        return {};
    }

  private:
    double fraction_;
};

}  // namespace

std::unique_ptr<Averaging> make_trimmed_mean(const AveragingContext& context) {
    return std::make_unique<RobustGossip>(context,
                                          std::make_unique<TrimmedMean>(context.options.trim_fraction));
}

}  // namespace Atoll::gossip
