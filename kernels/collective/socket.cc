#include "kernels/collective/socket.h"

#include <fmt/core.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>

namespace Atoll::kernels {

namespace {

constexpr std::chrono::milliseconds kBetweenTries{50};

// A host that vanishes without a word is noticed after about half a minute.
void configure(int descriptor) {
    const auto set = [&](int level, int option, int value) {
        (void)::setsockopt(descriptor, level, option, &value, sizeof value);
    };
    set(IPPROTO_TCP, TCP_NODELAY, 1);
    set(SOL_SOCKET, SO_KEEPALIVE, 1);
    set(IPPROTO_TCP, TCP_KEEPIDLE, 10);
    set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
    set(IPPROTO_TCP, TCP_KEEPCNT, 4);
    set(IPPROTO_TCP, TCP_USER_TIMEOUT, 30000);
}

Error failed(const std::string& what) {
    return {ErrorCode::unavailable, fmt::format("{}: {}", what, std::strerror(errno))};
}

}  // namespace

Socket::~Socket() {
    if (open()) ::close(descriptor_);
}

double monotonic_seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Result<Listener> listen_on(std::uint16_t port) {
    Listener listener;
    listener.socket = Socket(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const bool six = listener.socket.open();  // where there is no IPv6 at all, IPv4 does
    if (!six) listener.socket = Socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int descriptor = listener.socket.get();
    const int on = 1, off = 0;
    (void)::setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_storage address{};
    socklen_t length = sizeof(sockaddr_in);
    if (six) {
        (void)::setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
        auto* const any = reinterpret_cast<sockaddr_in6*>(&address);
        any->sin6_family = AF_INET6;
        any->sin6_port = htons(port);
        length = sizeof *any;
    } else {
        auto* const any = reinterpret_cast<sockaddr_in*>(&address);
        any->sin_family = AF_INET;
        any->sin_port = htons(port);
    }
    if (::bind(descriptor, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
        ::listen(descriptor, SOMAXCONN) != 0 ||
        ::getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
        return failed(fmt::format("rank 0 cannot listen on port {} for the other ranks", port));
    }
    listener.port = ntohs(six ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                              : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
    return listener;
}

Result<Socket> connect_to(const std::string& host, std::uint16_t port, double deadline) {
    std::string why = "no address";
    do {
        addrinfo hints{};
        hints.ai_socktype = SOCK_STREAM;
        addrinfo* found = nullptr;
        const int code = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
        const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, ::freeaddrinfo);
        if (code != 0) why = ::gai_strerror(code);
        for (const addrinfo* at = found; code == 0 && at != nullptr; at = at->ai_next) {
            Socket socket(::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol));
            if (socket.open() && ::connect(socket.get(), at->ai_addr, at->ai_addrlen) == 0) {
                configure(socket.get());
                return socket;
            }
            why = std::strerror(errno);
        }
        std::this_thread::sleep_for(kBetweenTries);
    } while (monotonic_seconds() < deadline);
    return Error{ErrorCode::unavailable,
                 fmt::format("rank 0 is not to be met at {}:{}: {}", host, port, why)};
}

Result<Socket> accept_from(const Listener& listener, double deadline) {
    while (true) {
        const double left = deadline - monotonic_seconds();
        if (left <= 0) return Error{ErrorCode::unavailable, "nobody came"};
        pollfd wanted{listener.socket.get(), POLLIN, 0};
        if (::poll(&wanted, 1, static_cast<int>(left * 1000) + 1) <= 0) continue;
        Socket socket(::accept4(listener.socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!socket.open()) continue;
        configure(socket.get());
        return socket;
    }
}

namespace {

Io outcome(ssize_t count) {
    if (count > 0) return Io::done;
    return count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) ? Io::again : Io::closed;
}

}  // namespace

Io send_some(const Socket& socket, ByteView& bytes) {
    const ssize_t count = ::send(socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count > 0) bytes = bytes.subspan(static_cast<std::size_t>(count));
    return outcome(count);
}

Io receive_some(const Socket& socket, std::span<std::byte>& bytes) {
    const ssize_t count = ::recv(socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (count > 0) bytes = bytes.subspan(static_cast<std::size_t>(count));
    return outcome(count);
}

}  // namespace Atoll::kernels
