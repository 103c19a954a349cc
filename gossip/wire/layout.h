// The fixed part of an envelope, shared by encode.cc and decode.cc.
#pragma once

#include <array>
#include <cstddef>

#include "gossip/identity.h"
#include "gossip/wire.h"

namespace Atoll::gossip::layout {

inline constexpr std::array<std::byte, 3> kMagic{std::byte{'A'}, std::byte{'T'}, std::byte{'L'}};
inline constexpr std::size_t kVersion = 3;
inline constexpr std::size_t kRun = 8;
inline constexpr std::size_t kSender = kRun + sizeof(Hash);
inline constexpr std::size_t kSignature = kSender + sizeof(PeerId);
inline constexpr std::size_t kBody =
    kSignature + sizeof(Signature);  // 136: whole words, so the body stays aligned
static_assert(kBody % 8 == 0);

// What is signed: the frame without the signature.
[[nodiscard]] inline Bytes signed_part(ByteView frame) {
    Bytes bytes(frame.begin(), frame.begin() + kSignature);
    bytes.insert(bytes.end(), frame.begin() + kBody, frame.end());
    return bytes;
}

}  // namespace Atoll::gossip::layout
