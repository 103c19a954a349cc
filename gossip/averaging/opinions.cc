#include "gossip/averaging/opinions.h"

#include <algorithm>
#include <cmath>

#include "kernels/quantize/quantize.h"

namespace Atoll::gossip {

Opinions::Opinions(const AveragePart& part, std::span<const Packing::Piece> pieces,
                   std::span<const ByteView> payloads, kernels::FlatBuffer& scratch)
    : part_(part), pieces_(pieces), payloads_(payloads), scratch_(scratch) {
    std::size_t longest = 0;
    for (const Packing::Piece& piece : pieces) longest = std::max(longest, piece.count);
    if (scratch_.size() < longest * payloads.size())
        scratch_ = kernels::FlatBuffer(longest * payloads.size());
}

Status Opinions::decode(std::size_t member, const Packing::Piece& piece, std::span<float> out, double weight,
                        bool accumulate) const {
    const ByteView bytes = payloads_[member].subspan(piece.at, piece.bytes);
    const Status decoded = part_.codec->decode(bytes, out, static_cast<float>(weight), accumulate);
    if (decoded.ok()) return {};
    return Error{ErrorCode::failed, "our own values with their residual: " + decoded.error().message};
}

Result<std::vector<std::span<float>>> Opinions::rows(const Packing::Piece& piece) {
    std::vector<std::span<float>> rows;
    for (std::size_t i = 0; i < size(); ++i) {
        rows.push_back(scratch_.span().subspan(i * piece.count, piece.count));
        ATOLL_TRY(decode(i, piece, rows.back(), 1, false));
    }
    return rows;
}

Status Opinions::combine(std::span<const double> weights) {
    for (const Packing::Piece& piece : pieces_) {
        for (std::size_t i = 0; i < size(); ++i)
            ATOLL_TRY(decode(i, piece, result(piece), weights[i], i > 0));
    }
    return {};
}

Result<SquaredDistances> SquaredDistances::of(Opinions& opinions) {
    SquaredDistances distances(opinions.size());
    for (const Packing::Piece& piece : opinions.pieces()) {
        ATOLL_ASSIGN(const auto rows, opinions.rows(piece));
        for (std::size_t i = 0; i < rows.size(); ++i) {
            for (std::size_t j = 0; j < i; ++j) {
                const double square = kernels::squared_distance(rows[i].data(), rows[j].data(), piece.count);
                distances(i, j) += square;
                distances(j, i) += square;
            }
        }
    }
    return distances;
}

std::vector<double> SquaredDistances::from_point(std::span<const double> weights) const {
    std::vector<double> squares(members_, 0);
    double spread = 0;
    for (std::size_t k = 0; k < members_; ++k) {
        for (std::size_t i = 0; i < members_; ++i) squares[k] += weights[i] * (*this)(i, k);
        spread += weights[k] * squares[k];
    }
    for (double& square : squares) square = std::max(square - spread / 2, 0.0);
    return squares;
}

}  // namespace Atoll::gossip
