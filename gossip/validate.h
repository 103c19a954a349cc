// Whether a message is one that a sane peer could mean: sizes, ranges, finite numbers, printable texts, and
// agreement of body and payload. Asked before sending (our own mistakes stay at home) and after receiving.
#pragma once

#include <cstdint>
#include <string_view>

#include "gossip/message.h"

namespace Atoll::gossip {

// A node's human name: 1 to kNameBytesMax bytes, no control characters (it is printed on terminals and
// pages).
[[nodiscard]] Status check_name(std::string_view name);
// A region's label: at most kRegionBytesMax bytes, no control characters; may be empty.
[[nodiscard]] Status check_region(std::string_view region);

// The most payload a message of this kind may announce.
[[nodiscard]] std::uint64_t payload_bytes_max(const Body& body);

// Errors: invalid, naming kind and field. Node-local kinds are always an error.
[[nodiscard]] Status validate(const Body& body, std::uint64_t payload_bytes);

}  // namespace Atoll::gossip
