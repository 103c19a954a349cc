// Who a peer is: its Ed25519 public key.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <string>

#include "base/bytes.h"

namespace Atoll::gossip {

struct PeerId {
    std::array<std::byte, 32> key{};
    auto operator<=>(const PeerId&) const = default;
    // First 8 hexadecimal digits: for logs and tables.
    [[nodiscard]] std::string short_name() const { return to_hex(ByteView(key).first(4)); }
    [[nodiscard]] std::string text() const { return to_hex(ByteView(key)); }
};

}  // namespace Atoll::gossip
