#include "base/bytes.h"

namespace Atoll {

std::string to_hex(ByteView bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    text.reserve(bytes.size() * 2);
    for (const std::byte b : bytes) {
        text.push_back(kDigits[std::to_integer<unsigned>(b) >> 4U]);
        text.push_back(kDigits[std::to_integer<unsigned>(b) & 15U]);
    }
    return text;
}

namespace {
int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}
}  // namespace

Result<Bytes> from_hex(std::string_view text) {
    if (text.size() % 2 != 0) return Error{ErrorCode::invalid, "hexadecimal text of odd length"};
    Bytes bytes(text.size() / 2);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const int high = digit(text[2 * i]);
        const int low = digit(text[2 * i + 1]);
        if (high < 0 || low < 0) return Error{ErrorCode::invalid, "a character that is not hexadecimal"};
        bytes[i] = static_cast<std::byte>(high * 16 + low);
    }
    return bytes;
}

}  // namespace Atoll
