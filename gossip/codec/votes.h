// Codecs of votes, exact where their values are votes and of use nowhere else: signs on their way up, and
// what comes down after they were counted (Distributed Lion, federation/algorithm/distributed_lion.cc). They
// are built by their algorithm and stand in no table; no byte says which one it is.
#pragma once

#include <memory>

#include "gossip/codec/codec.h"

namespace Atoll::gossip {

// Values -1 and +1: one bit each, the least significant first, 1 for +1; the last byte is filled with zeros.
[[nodiscard]] std::unique_ptr<Codec> make_sign_votes();
// Values -1, 0 and +1: five to a byte, the first counting least, as digits 0, 1, 2 of base 3; the last byte
// is filled with the digit 1 (the value 0).
[[nodiscard]] std::unique_ptr<Codec> make_ternary_votes();
// Means of n votes: (2 c - n) / n is sent as c, in ceil(log2(n + 1)) bits, the least significant first.
// Precondition: 1 <= n <= 65535.
[[nodiscard]] std::unique_ptr<Codec> make_vote_counts(std::size_t n);

}  // namespace Atoll::gossip
