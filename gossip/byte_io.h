// Fixed little-endian layouts, for the few things that are signed and passed on as they are (grants,
// certificates, member records): one sequence of bytes for one value, readable without a library.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace Atoll::gossip {

class ByteWriter {
  public:
    template <std::unsigned_integral T>
    void integer(T value) {
        for (std::size_t i = 0; i < sizeof(T); ++i) {
            bytes_.push_back(static_cast<std::byte>((static_cast<std::uint64_t>(value) >> (8 * i)) & 0xffU));
        }
    }
    void raw(ByteView bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
    // A length of one byte, then the text. Precondition: text.size() <= 255.
    void text(std::string_view text) {
        integer(static_cast<std::uint8_t>(text.size()));
        raw(as_byte_view(text));
    }
    [[nodiscard]] Bytes take() { return std::move(bytes_); }

  private:
    Bytes bytes_;
};

// Reads what ByteWriter wrote. Reading past the end yields zeros and leaves ok() false; nothing is allocated
// for lengths that the bytes do not cover.
class ByteReader {
  public:
    explicit ByteReader(ByteView bytes) : rest_(bytes) {}

    template <std::unsigned_integral T>
    [[nodiscard]] T integer() {
        std::uint64_t value = 0;
        const ByteView bytes = take(sizeof(T));
        for (std::size_t i = 0; i < bytes.size(); ++i)
            value |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
        return static_cast<T>(value);
    }
    template <std::size_t N>
    [[nodiscard]] std::array<std::byte, N> array() {
        std::array<std::byte, N> value{};
        std::ranges::copy(take(N), value.begin());
        return value;
    }
    [[nodiscard]] std::string text() {
        const ByteView bytes = take(integer<std::uint8_t>());
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }
    // The next `count` bytes, nothing if there are fewer.
    [[nodiscard]] ByteView take(std::size_t count) {
        if (count > rest_.size()) {
            ok_ = false;
            rest_ = {};
            return {};
        }
        const ByteView bytes = rest_.first(count);
        rest_ = rest_.subspan(count);
        return bytes;
    }
    [[nodiscard]] bool ok() const { return ok_; }
    [[nodiscard]] std::size_t left() const { return rest_.size(); }
    // Everything was there and nothing is left over.
    [[nodiscard]] bool complete() const { return ok_ && rest_.empty(); }

  private:
    ByteView rest_;
    bool ok_ = true;
};

}  // namespace Atoll::gossip
