// The vectors of uploads and downloads as bytes.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "federation/federated/core.h"
#include "gossip/codec/codec.h"
#include "gossip/message.h"

namespace Atoll::federation {

struct EncodedVectors {
    std::vector<gossip::SharePart> parts;
    SharedBytes payload;
};

// Encodes each vector, leaving what was lost in `residual` and what will be seen in `decoded`. `seed` gives
// that of the vector of an index.
[[nodiscard]] EncodedVectors encode_vectors(const gossip::Codec& codec,
                                            std::span<const ClientCore<float>::Outgoing> vectors,
                                            const std::function<gossip::CodecSeed(std::size_t)>& seed);
// In fp32.
[[nodiscard]] EncodedVectors encode_exactly(std::span<const std::span<const float>> vectors);

// Decodes into `vectors`. Errors (corrupt): other parts than these, a wrong length, a value that is not
// finite; then what is in `vectors` means nothing.
[[nodiscard]] Status decode_vectors(const gossip::Codec& codec, std::span<const gossip::SharePart> parts,
                                    ByteView payload, std::span<const std::span<float>> vectors);

}  // namespace Atoll::federation
