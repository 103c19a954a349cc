// BLAKE2b-256 (libsodium): what binds payloads to their headers and names runs, models and files.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <string>

#include "base/bytes.h"

namespace Atoll {

using Hash = std::array<std::byte, 32>;

[[nodiscard]] Hash blake2b(ByteView bytes);
[[nodiscard]] std::string to_hex(const Hash& hash);

// The same hash fed in parts.
class HashStream {
  public:
    HashStream();
    ~HashStream();
    HashStream(const HashStream&) = delete;
    HashStream& operator=(const HashStream&) = delete;

    void update(ByteView bytes);
    // The hash of everything so far; the stream must not be used afterwards.
    [[nodiscard]] Hash finish();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace Atoll
