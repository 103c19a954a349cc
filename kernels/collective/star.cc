#include "kernels/collective/star.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"

namespace Atoll::kernels {

namespace {

constexpr std::uint64_t kFarewell = ~std::uint64_t{0};
constexpr std::size_t kPieceFloats = std::size_t{1} << 18U;
constexpr double kForever = std::numeric_limits<double>::infinity();
constexpr double kFarewellSeconds = 1;  // at most, to tell the other ranks why rank 0 stops
constexpr int kFarewellMilliseconds = 100;
constexpr double kHelloSeconds = 5;  // a stranger that connects and says nothing holds nobody up longer
constexpr std::size_t kNameBytesMax = 128;
constexpr int kLookMilliseconds = 1000;

// What a rank says first.
struct Hello {
    std::array<char, 8> magic{'a', 't', 'o', 'l', 'l', 'r', 'k', '1'};
    std::int32_t rank = 0;
    std::int32_t size = 0;
    std::array<char, kNameBytesMax> name{};
};

std::string name_here(int rank) {
    std::array<char, 65> host{};
    (void)::gethostname(host.data(), host.size() - 1);
    return fmt::format("rank {} ({}, process {})", rank, host.data(), ::getpid())
        .substr(0, kNameBytesMax - 1);
}

template <typename T>
std::span<std::byte> bytes_of(T& value) {
    return std::as_writable_bytes(std::span(&value, 1));
}

void add(std::span<const float> values, std::span<float> to) {
    for (std::size_t i = 0; i < to.size(); ++i) to[i] += values[i];
}

}  // namespace

Star::Star(int rank, int size, double deadline_seconds)
    : rank_(rank),
      size_(size),
      deadline_seconds_(deadline_seconds),
      links_(static_cast<std::size_t>(size)),
      names_(static_cast<std::size_t>(size)) {
    for (int i = 0; i < size; ++i) names_[static_cast<std::size_t>(i)] = fmt::format("rank {}", i);
    names_[static_cast<std::size_t>(rank)] = name_here(rank);
}

Result<std::unique_ptr<Star>> Star::meet(const Meeting& meeting, Listener listener) {
    ATOLL_CHECK(meeting.rank >= 0 && meeting.rank < meeting.size);
    std::unique_ptr<Star> star(new Star(meeting.rank, meeting.size, meeting.deadline_seconds));
    ATOLL_TRY(meeting.rank == 0 ? star->gather_round(std::move(listener)) : star->go_to(meeting));
    ATOLL_TRY(star->barrier());  // a rank that rank 0 sends away learns it here
    return star;
}

Status Star::gather_round(Listener listener) {
    const double until = deadline();
    for (int missing = size_ - 1; missing > 0;) {
        auto socket = accept_from(listener, until);
        if (!socket) {
            std::string who;
            for (int i = 1; i < size_; ++i) who += link(i).open() ? "" : fmt::format(" {}", i);
            return fail({ErrorCode::unavailable, fmt::format("rank{} of {} did not come to port {} in {} s",
                                                             who, size_, listener.port, deadline_seconds_)});
        }
        Hello hello;
        std::span<std::byte> rest = bytes_of(hello);
        const double patience = std::min(until, monotonic_seconds() + kHelloSeconds);
        while (!rest.empty() && monotonic_seconds() < patience) {
            pollfd wanted{socket->get(), POLLIN, 0};
            (void)::poll(&wanted, 1, kLookMilliseconds);
            if (receive_some(*socket, rest) == Io::closed) break;
        }
        hello.name.back() = '\0';
        if (!rest.empty() || hello.magic != Hello().magic) continue;
        if (hello.size != size_ || hello.rank < 1 || hello.rank >= size_ || link(hello.rank).open()) {
            const Error error{ErrorCode::refused,
                              fmt::format("{} comes as rank {} of {} to a meeting of {} ranks{}",
                                          hello.name.data(), hello.rank, hello.size, size_,
                                          hello.size == size_ ? " where that rank is there already" : "")};
            link(0) = std::move(*socket);  // so that it is told, too
            return fail(error);
        }
        link(hello.rank) = std::move(*socket);
        names_[static_cast<std::size_t>(hello.rank)] = hello.name.data();
        --missing;
    }
    return {};
}

Status Star::go_to(const Meeting& meeting) {
    ATOLL_ASSIGN(link(0), connect_to(meeting.host, meeting.port, deadline()));
    Hello hello{.rank = rank_, .size = size_};
    std::ranges::copy(names_[static_cast<std::size_t>(rank_)], hello.name.begin());
    return send(0, bytes_of(hello), deadline());
}

Error Star::gone(int peer) { return fail({ErrorCode::failed, describe(peer) + " is gone"}); }

Error Star::fail(Error error) {
    if (!failed_.ok()) return failed_.error();
    failed_ = error;
    if (rank_ != 0) return error;
    const std::uint64_t header[] = {kFarewell, error.message.size()};
    const double until = monotonic_seconds() + kFarewellSeconds;
    for (Socket& socket : links_) {
        if (!socket.open()) continue;
        for (ByteView rest : {ByteView(std::as_bytes(std::span(header))), as_byte_view(error.message)}) {
            while (!rest.empty() && monotonic_seconds() < until) {
                const Io io = send_some(socket, rest);
                if (io == Io::closed) break;
                pollfd wanted{socket.get(), POLLOUT, 0};
                if (io == Io::again) (void)::poll(&wanted, 1, kFarewellMilliseconds);
            }
        }
        (void)::shutdown(socket.get(), SHUT_WR);
    }
    // A connection that is closed with something unread is reset, and the farewell lost: read until they have
    // left.
    std::array<std::byte, 4096> ignored{};
    for (Socket& socket : links_) {
        for (Io io = Io::again; socket.open() && io != Io::closed && monotonic_seconds() < until;) {
            std::span<std::byte> rest = ignored;
            io = receive_some(socket, rest);
            pollfd wanted{socket.get(), POLLIN, 0};
            if (io == Io::again) (void)::poll(&wanted, 1, kFarewellMilliseconds);
        }
    }
    return error;
}

// Until the connection to `peer` is ready for `events`, or another rank's has closed.
Status Star::wait(int peer, short events, double until) {
    while (true) {
        std::vector<pollfd> watched;
        std::vector<int> ranks;
        for (int i = 0; i < size_; ++i) {
            if (!link(i).open()) continue;
            watched.push_back({link(i).get(), static_cast<short>(i == peer ? events : POLLRDHUP), 0});
            ranks.push_back(i);
        }
        const double left = until - monotonic_seconds();
        const int patience = left > 1 ? kLookMilliseconds : std::max(0, static_cast<int>(left * 1000) + 1);
        (void)::poll(watched.data(), watched.size(), patience);
        for (std::size_t i = 0; i < watched.size(); ++i) {
            if (watched[i].revents == 0) continue;
            if (ranks[i] == peer) return {};
            return gone(ranks[i]);
        }
        if (left <= 0) {
            return fail(
                {ErrorCode::failed, fmt::format("{} has not answered for {} s (local.rank_deadline_seconds)",
                                                describe(peer), deadline_seconds_)});
        }
    }
}

Status Star::look() {
    if (!failed_.ok()) return failed_;
    for (int i = 0; i < size_; ++i) {
        if (!link(i).open()) continue;
        pollfd watched{link(i).get(), POLLRDHUP | POLLIN, 0};
        if (::poll(&watched, 1, 0) <= 0) continue;
        std::uint64_t length = 0;
        const bool farewell =
            rank_ != 0 && (watched.revents & POLLIN) != 0 &&
            ::recv(watched.fd, &length, sizeof length, MSG_PEEK | MSG_DONTWAIT) == sizeof length &&
            length == kFarewell;
        if (farewell) {
            const auto said = receive_length(i, deadline());
            return said.ok() ? Status() : said.error();
        }
        if ((watched.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0) return gone(i);
    }
    return {};
}

Status Star::send(int peer, ByteView bytes, double until) {
    if (!failed_.ok()) return failed_;
    while (!bytes.empty()) {
        const Io io = send_some(link(peer), bytes);
        if (io == Io::closed) return gone(peer);
        if (io == Io::again) ATOLL_TRY(wait(peer, POLLOUT, until));
    }
    return {};
}

Status Star::receive(int peer, std::span<std::byte> bytes, double until) {
    if (!failed_.ok()) return failed_;
    while (!bytes.empty()) {
        const Io io = receive_some(link(peer), bytes);
        if (io == Io::closed) return gone(peer);
        if (io == Io::again) ATOLL_TRY(wait(peer, POLLIN, until));
    }
    return {};
}

Status Star::send_frame(int peer, ByteView bytes, double until) {
    std::uint64_t length = bytes.size();
    ATOLL_TRY(send(peer, bytes_of(length), until));
    return send(peer, bytes, until);
}

Result<std::size_t> Star::receive_length(int peer, double until) {
    std::uint64_t length = 0;
    ATOLL_TRY(receive(peer, bytes_of(length), until));
    if (length != kFarewell) return static_cast<std::size_t>(length);
    ATOLL_ASSIGN(const Bytes reason, receive_frame(peer, std::min(until, deadline())));
    return fail(
        {ErrorCode::failed, std::string(reinterpret_cast<const char*>(reason.data()), reason.size())});
}

Result<Bytes> Star::receive_frame(int peer, double until) {
    ATOLL_ASSIGN(const std::size_t length, receive_length(peer, until));
    if (length > kBytesMax * static_cast<std::size_t>(size_)) {
        return fail({ErrorCode::failed, fmt::format("{} announces {} bytes: expected at most {} a rank",
                                                    describe(peer), length, kBytesMax)});
    }
    Bytes bytes(length);
    ATOLL_TRY(receive(peer, bytes, std::min(until, deadline())));
    return bytes;
}

Status Star::send_floats(int peer, std::span<const float> values, double until) {
    return send_frame(peer, std::as_bytes(values), until);
}

Status Star::begin_floats(int peer, std::size_t count, double until) {
    ATOLL_ASSIGN(const std::size_t length, receive_length(peer, until));
    if (length == count * sizeof(float)) return {};
    return fail({ErrorCode::failed,
                 fmt::format("{} sends {} bytes of a vector where {} were expected: do all ranks run the "
                             "same program with the same configuration?",
                             describe(peer), length, count * sizeof(float))});
}

Status Star::receive_floats(int peer, std::span<float> values, double until) {
    ATOLL_TRY(begin_floats(peer, values.size(), until));
    return receive(peer, std::as_writable_bytes(values), until);
}

Status Star::reduce_scatter(std::span<float> vector, const Parts& parts) {
    const double until = deadline();
    if (rank_ != 0) {
        ATOLL_TRY(send_floats(0, vector, until));
        return receive_floats(0, parts.of(rank_, vector), until);
    }
    piece_.resize(std::min(kPieceFloats, vector.size()));
    for (int i = 1; i < size_; ++i) {
        ATOLL_TRY(begin_floats(i, vector.size(), until));
        for (std::size_t from = 0; from < vector.size(); from += kPieceFloats) {
            const std::span<float> piece =
                std::span(piece_).first(std::min(kPieceFloats, vector.size() - from));
            ATOLL_TRY(receive(i, std::as_writable_bytes(piece), until));
            add(piece, vector.subspan(from, piece.size()));
        }
    }
    for (int i = 1; i < size_; ++i) ATOLL_TRY(send_floats(i, parts.of(i, vector), until));
    return {};
}

Status Star::all_gather(std::span<float> vector, const Parts& parts) {
    const double until = deadline();
    if (rank_ != 0) {
        ATOLL_TRY(send_floats(0, parts.of(rank_, vector), until));
        return receive_floats(0, vector, until);
    }
    for (int i = 1; i < size_; ++i) ATOLL_TRY(receive_floats(i, parts.of(i, vector), until));
    for (int i = 1; i < size_; ++i) ATOLL_TRY(send_floats(i, vector, until));
    return {};
}

Status Star::broadcast(std::span<float> vector) {
    const double until = deadline();
    if (rank_ != 0) return receive_floats(0, vector, until);
    for (int i = 1; i < size_; ++i) ATOLL_TRY(send_floats(i, vector, until));
    return {};
}

Result<std::vector<Bytes>> Star::all_gather(ByteView mine) {
    ATOLL_CHECK(mine.size() <= kBytesMax);
    const double until = deadline();
    std::vector<Bytes> all(static_cast<std::size_t>(size_));
    if (rank_ != 0) {
        ATOLL_TRY(send_frame(0, mine, until));
        for (Bytes& bytes : all) {
            ATOLL_ASSIGN(bytes, receive_frame(0, until));
        }
        return all;
    }
    all[0].assign(mine.begin(), mine.end());
    for (int i = 1; i < size_; ++i) {
        ATOLL_ASSIGN(all[static_cast<std::size_t>(i)], receive_frame(i, until));
    }
    Bytes together;
    for (const Bytes& bytes : all) {
        std::uint64_t length = bytes.size();
        const auto header = bytes_of(length);
        together.insert(together.end(), header.begin(), header.end());
        together.insert(together.end(), bytes.begin(), bytes.end());
    }
    for (int i = 1; i < size_; ++i) ATOLL_TRY(send(i, together, until));
    return all;
}

Result<Bytes> Star::broadcast(ByteView bytes) {
    if (rank_ != 0) return receive_frame(0, kForever);
    ATOLL_CHECK(bytes.size() <= kBytesMax);
    for (int i = 1; i < size_; ++i) ATOLL_TRY(send_frame(i, bytes, deadline()));
    return Bytes(bytes.begin(), bytes.end());
}

}  // namespace Atoll::kernels
