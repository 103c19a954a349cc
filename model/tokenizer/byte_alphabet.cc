#include "model/tokenizer/byte_alphabet.h"

#include <array>

namespace Atoll::model {

namespace {

struct Alphabet {
    std::array<std::string, 256> characters;
    std::array<std::int16_t, 0x144> bytes{};  // by code point; -1: not of the alphabet

    Alphabet() {
        bytes.fill(-1);
        unsigned next = 0x100;
        for (unsigned byte = 0; byte < 256; ++byte) {
            const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
            const unsigned code_point = printable ? byte : next++;
            bytes[code_point] = static_cast<std::int16_t>(byte);
            if (code_point < 0x80) {
                characters[byte] = static_cast<char>(code_point);
            } else {
                characters[byte] = {static_cast<char>(0xC0U | (code_point >> 6U)),
                                    static_cast<char>(0x80U | (code_point & 0x3FU))};
            }
        }
    }
};

const Alphabet& alphabet() {
    static const Alphabet instance;
    return instance;
}

}  // namespace

const std::string& byte_character(std::uint8_t byte) { return alphabet().characters[byte]; }

std::string bytes_to_alphabet(std::string_view bytes) {
    std::string text;
    text.reserve(bytes.size());
    for (const char c : bytes) text += byte_character(static_cast<std::uint8_t>(c));
    return text;
}

std::optional<std::string> alphabet_to_bytes(std::string_view text) {
    std::string bytes;
    bytes.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        unsigned code_point = static_cast<std::uint8_t>(text[i]);
        if (code_point >= 0x80) {
            // The alphabet ends at U+0143: two bytes of UTF-8 at most.
            if ((code_point & 0xE0U) != 0xC0U || i + 1 == text.size()) return std::nullopt;
            code_point = ((code_point & 0x1FU) << 6U) | (static_cast<std::uint8_t>(text[++i]) & 0x3FU);
        }
        if (code_point >= alphabet().bytes.size() || alphabet().bytes[code_point] < 0) return std::nullopt;
        bytes += static_cast<char>(alphabet().bytes[code_point]);
    }
    return bytes;
}

}  // namespace Atoll::model
