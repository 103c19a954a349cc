// TCP sockets of ranks that meet: the little of them that a star needs.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/result.h"

namespace Atoll::kernels {

// An owned file descriptor.
class Socket {
  public:
    Socket() = default;
    explicit Socket(int descriptor) : descriptor_(descriptor) {}
    Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
    Socket& operator=(Socket&& other) noexcept {
        std::swap(descriptor_, other.descriptor_);
        return *this;
    }
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;
    ~Socket();

    [[nodiscard]] int get() const { return descriptor_; }
    [[nodiscard]] bool open() const { return descriptor_ >= 0; }

  private:
    int descriptor_ = -1;
};

// Seconds of a clock that only goes forward.
[[nodiscard]] double monotonic_seconds();

struct Listener {
    Socket socket;
    std::uint16_t port = 0;
};
// On all addresses of this machine; port 0: any free one.
[[nodiscard]] Result<Listener> listen_on(std::uint16_t port);
// Tries again until `deadline` (of monotonic_seconds()) while nobody listens there yet.
[[nodiscard]] Result<Socket> connect_to(const std::string& host, std::uint16_t port, double deadline);
// Errors (unavailable): nobody came until `deadline`.
[[nodiscard]] Result<Socket> accept_from(const Listener& listener, double deadline);

enum class Io { done, again, closed };
// What is possible at once; `bytes` becomes the rest.
[[nodiscard]] Io send_some(const Socket& socket, ByteView& bytes);
[[nodiscard]] Io receive_some(const Socket& socket, std::span<std::byte>& bytes);

}  // namespace Atoll::kernels
