// The payload of a share: the parts of a call, encoded one behind the other; and what makes the share of
// another member acceptable.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gossip/averaging/averaging.h"
#include "kernels/flat.h"

namespace Atoll::gossip {

// Euclidean norm of all parts together; not finite if a value is not, or if they are too large.
[[nodiscard]] double norm_of(std::span<const AveragePart> parts);
// The error of a call whose own values are not finite: a diverged replica does not spread.
[[nodiscard]] Error own_values_not_finite(std::uint64_t round);

class Packing {
  public:
    // A stretch of a part that is encoded by itself.
    struct Piece {
        std::size_t part = 0;
        std::size_t begin = 0;  // in the part
        std::size_t count = 0;
        std::size_t at = 0;  // in the payload
        std::size_t bytes = 0;
    };

    // Parts are cut into pieces of at most `piece_values` values. `context` outlives the object.
    Packing(const AveragingContext& context, std::size_t piece_values)
        : context_(context), piece_values_(piece_values) {}

    // What follows is about these parts, as they stand. They outlive the next call of begin().
    void begin(std::uint64_t round, std::span<const AveragePart> parts);
    // The parts have new values: takes their norm.
    void changed() { norm_ = norm_of(parts_); }
    [[nodiscard]] double norm() const { return norm_; }
    [[nodiscard]] std::span<const Piece> pieces() const { return pieces_; }

    // Fills in the parts of the share (whose round and stage the random choices follow from) and encodes
    // them, with the residuals of its stage; residuals that are fewer than the stages take turns.
    [[nodiscard]] SharedBytes pack(MixShare& share) const;

    [[nodiscard]] bool fits(const MixShare& share) const;
    // Why a share with its payload is not acceptable whatever the scheme makes of it: parts, size, schedule,
    // values. In words; empty if it is.
    [[nodiscard]] std::string objection(const MixShare& share, ByteView payload);
    // Of the values of a payload without objection from ours, as a fraction of our norm.
    [[nodiscard]] double disagreement(ByteView payload);
    // Of the current view (gossip/topology/digest.h).
    [[nodiscard]] const Hash& schedule();

  private:
    [[nodiscard]] std::size_t encoded_bytes(std::size_t part) const;
    // Decodes a piece into scratch.
    [[nodiscard]] Result<std::span<const float>> decode(const Piece& piece, ByteView payload);
    [[nodiscard]] std::string objection_to_values(ByteView payload);

    const AveragingContext& context_;
    std::size_t piece_values_;
    std::span<const AveragePart> parts_;
    std::uint64_t round_ = 0;
    double norm_ = 0;
    std::vector<Piece> pieces_;
    kernels::FlatBuffer scratch_;
    std::pair<std::uint64_t, std::optional<Hash>> schedule_;  // digest, and the epoch it is of
};

}  // namespace Atoll::gossip
