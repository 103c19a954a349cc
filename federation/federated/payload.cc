#include "federation/federated/payload.h"

#include <fmt/core.h>

#include <cmath>
#include <cstring>

#include "federation/algorithm/steps.h"

namespace Atoll::federation {

EncodedVectors encode_vectors(const gossip::Codec& codec,
                              std::span<const ClientCore<float>::Outgoing> vectors,
                              const std::function<gossip::CodecSeed(std::size_t)>& seed) {
    std::size_t bytes = 0;
    for (const auto& vector : vectors) bytes += codec.encoded_bytes(vector.values.size());
    Bytes buffer(bytes);
    EncodedVectors encoded;
    std::size_t at = 0;
    for (std::size_t i = 0; i < vectors.size(); ++i) {
        const auto& vector = vectors[i];
        const std::size_t written = codec.encode(vector.values, vector.residual,
                                                 std::span(buffer).subspan(at), vector.decoded, seed(i));
        encoded.parts.push_back({codec.wire_id(), vector.values.size(), written});
        at += written;
    }
    buffer.resize(at);
    encoded.payload = SharedBytes(std::move(buffer));
    return encoded;
}

EncodedVectors encode_exactly(std::span<const std::span<const float>> vectors) {
    EncodedVectors encoded;
    Bytes buffer;
    for (const auto& vector : vectors) {
        const ByteView bytes = std::as_bytes(vector);
        buffer.insert(buffer.end(), bytes.begin(), bytes.end());
        encoded.parts.push_back({0, vector.size(), bytes.size()});
    }
    encoded.payload = SharedBytes(std::move(buffer));
    return encoded;
}

Status decode_vectors(const gossip::Codec& codec, std::span<const gossip::SharePart> parts, ByteView payload,
                      std::span<const std::span<float>> vectors) {
    if (parts.size() != vectors.size()) {
        return Error{ErrorCode::corrupt,
                     fmt::format("{} vectors, expected {}", parts.size(), vectors.size())};
    }
    std::size_t at = 0;
    for (std::size_t i = 0; i < vectors.size(); ++i) {
        const gossip::SharePart& part = parts[i];
        if (part.codec != codec.wire_id() || part.count != vectors[i].size()) {
            return Error{
                ErrorCode::corrupt,
                fmt::format("a vector of {} values in codec {}, expected {} in codec {} ({})", part.count,
                            part.codec, vectors[i].size(), codec.wire_id(), codec.name())};
        }
        if (part.bytes > payload.size() - at) return Error{ErrorCode::corrupt, "its payload is cut off"};
        const auto bytes = static_cast<std::size_t>(part.bytes);
        ATOLL_TRY(codec.decode(payload.subspan(at, bytes), vectors[i], 1, false));
        if (!std::isfinite(norm(vectors[i])))
            return Error{ErrorCode::corrupt, "it has values that are not finite"};
        at += bytes;
    }
    if (at != payload.size()) return Error{ErrorCode::corrupt, "its payload is too long"};
    return {};
}

}  // namespace Atoll::federation
