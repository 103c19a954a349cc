// Network addresses as people write them, and the one form the house keeps: tcp://host:port.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace Atoll::gossip {

struct Address {
    std::string host;  // name, IPv4, or IPv6 without brackets
    std::uint16_t port = 0;

    // "tcp://host:port", IPv6 in brackets.
    [[nodiscard]] std::string text() const;
    bool operator==(const Address&) const = default;
};

inline constexpr std::size_t kAddressBytesMax =
    128;  // tcp:// + 100 characters of a name + port, with some to spare

// host:port, [v6]:port, tcp://host:port, or multiaddr /ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT. Errors: invalid.
[[nodiscard]] Result<Address> parse_address(std::string_view text);

}  // namespace Atoll::gossip
