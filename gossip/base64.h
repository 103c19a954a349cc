// Base64 in its URL-safe alphabet, without padding: what invites and key files are written in.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace Atoll::gossip {

[[nodiscard]] std::string to_base64url(ByteView bytes);
[[nodiscard]] constexpr std::size_t base64url_characters(std::size_t bytes) { return (bytes * 4 + 2) / 3; }

// Errors: corrupt on a foreign character, a length no encoding has, or unused bits that are not zero (so that
// one byte string has one text).
[[nodiscard]] Result<Bytes> from_base64url(std::string_view text);
// The same into memory of the caller, for secrets; the text must hold exactly out.size() bytes.
[[nodiscard]] Status from_base64url(std::string_view text, std::span<std::byte> out);

}  // namespace Atoll::gossip
