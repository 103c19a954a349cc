// The byte-level alphabet of GPT-2's vocabulary files: every byte as one printable character
// (docs/reference/data.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace Atoll::model {

// The character that stands for `byte`, in UTF-8: bytes 33..126, 161..172 and 174..255 stand for themselves,
// the other 68 in increasing order for U+0100, U+0101, ... (so the space is U+0120).
[[nodiscard]] const std::string& byte_character(std::uint8_t byte);

// Any bytes as text of that alphabet, and back (nothing if `text` has a character that is not of the
// alphabet).
[[nodiscard]] std::string bytes_to_alphabet(std::string_view bytes);
[[nodiscard]] std::optional<std::string> alphabet_to_bytes(std::string_view text);

}  // namespace Atoll::model
