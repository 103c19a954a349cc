// What a neighbourhood says: the values of its members, side by side, and the rules that make one of them.
#pragma once

#include <span>
#include <vector>

#include "gossip/averaging/packing.h"

namespace Atoll::gossip {

// What every member of a neighbourhood sent of one part, ours included, in the order of identities; decoded a
// piece at a time, so that a neighbourhood of m takes m pieces of memory, not m vectors.
class Opinions {
  public:
    // `part`, `pieces` (of this part alone) and `payloads` outlive the object; `scratch` is made large
    // enough.
    Opinions(const AveragePart& part, std::span<const Packing::Piece> pieces,
             std::span<const ByteView> payloads, kernels::FlatBuffer& scratch);

    [[nodiscard]] std::size_t size() const { return payloads_.size(); }
    [[nodiscard]] std::span<const Packing::Piece> pieces() const { return pieces_; }
    // The piece of every member, decoded: row i is member i's, and the caller's to change until the next
    // call. Errors (failed): our own values with their residual are not finite; those of others have been
    // decoded before.
    [[nodiscard]] Result<std::vector<std::span<float>>> rows(const Packing::Piece& piece);
    // Where the result of a piece belongs.
    [[nodiscard]] std::span<float> result(const Packing::Piece& piece) const {
        return part_.values.subspan(piece.begin, piece.count);
    }
    // The result becomes sum_i weights[i] * (values of member i). Errors: as rows().
    [[nodiscard]] Status combine(std::span<const double> weights);

  private:
    [[nodiscard]] Status decode(std::size_t member, const Packing::Piece& piece, std::span<float> out,
                                double weight, bool accumulate) const;

    const AveragePart& part_;
    std::span<const Packing::Piece> pieces_;
    std::span<const ByteView> payloads_;
    kernels::FlatBuffer& scratch_;
};

// A rule that a minority of liars cannot move far. Depends on the values alone, not on who sent them.
class Aggregate {
  public:
    virtual ~Aggregate() = default;
    // Replaces the values of the part by the aggregate of the opinions about it.
    [[nodiscard]] virtual Status apply(Opinions& opinions) const = 0;
};

// Squared Euclidean distances between all pairs, in double.
class SquaredDistances {
  public:
    explicit SquaredDistances(std::size_t members) : members_(members), squares_(members * members, 0) {}
    [[nodiscard]] static Result<SquaredDistances> of(Opinions& opinions);

    [[nodiscard]] std::size_t members() const { return members_; }
    double& operator()(std::size_t i, std::size_t j) { return squares_[i * members_ + j]; }
    double operator()(std::size_t i, std::size_t j) const { return squares_[i * members_ + j]; }
    // Of each member from the point sum_i weights[i] * x_i, weights summing to one:
    //   |z - x_k|^2 = sum_i w_i D_ik - 1/2 sum_ij w_i w_j D_ij
    [[nodiscard]] std::vector<double> from_point(std::span<const double> weights) const;

  private:
    std::size_t members_;
    std::vector<double> squares_;
};

}  // namespace Atoll::gossip
