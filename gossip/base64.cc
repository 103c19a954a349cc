#include "gossip/base64.h"

#include <sodium.h>

namespace Atoll::gossip {

namespace {
constexpr int kVariant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
}

std::string to_base64url(ByteView bytes) {
    std::string text(sodium_base64_encoded_len(bytes.size(), kVariant), '\0');  // counts the closing zero
    sodium_bin2base64(text.data(), text.size(), reinterpret_cast<const unsigned char*>(bytes.data()),
                      bytes.size(), kVariant);
    text.pop_back();
    return text;
}

Status from_base64url(std::string_view text, std::span<std::byte> out) {
    std::size_t written = 0;
    const char* end = nullptr;
    const int status = sodium_base642bin(reinterpret_cast<unsigned char*>(out.data()), out.size(),
                                         text.data(), text.size(), nullptr, &written, &end, kVariant);
    if (status != 0 || end != text.data() + text.size() || written != out.size()) {
        return Error{ErrorCode::corrupt, "not base64url text of " + std::to_string(out.size()) + " bytes"};
    }
    return {};
}

Result<Bytes> from_base64url(std::string_view text) {
    Bytes bytes(text.size() * 3 / 4);
    ATOLL_TRY(from_base64url(text, bytes));
    return bytes;
}

}  // namespace Atoll::gossip
