// Ranks connected to rank 0 by TCP: what they agree on goes this way with every launcher, and where there is
// neither NCCL nor Open MPI the floats too. A rank that dies closes its connection: rank 0 sees it at once,
// whatever it is waiting for, and tells the others who it was before it stops itself.
//
// On a connection, both ways: frames of a length in bytes (u64) and as many bytes; the length 2^64 - 1 stands
// before a last frame, the reason why rank 0 stops. Numbers are in the byte order of the machine: ranks are
// alike.
#pragma once

#include "kernels/collective/collective.h"
#include "kernels/collective/socket.h"

namespace Atoll::kernels {

struct Meeting {
    int rank = 0;
    int size = 1;
    std::string host;  // of rank 0
    std::uint16_t port = 0;
    double deadline_seconds = 600;
};

class Star final : public Collective {
  public:
    // Rank 0 waits at `listener`, the others come to the meeting's address. Connections of strangers are
    // closed. Errors (unavailable): a rank that does not come in time; (refused): two processes that say they
    // are the same rank, or another number of ranks.
    [[nodiscard]] static Result<std::unique_ptr<Star>> meet(const Meeting& meeting, Listener listener = {});

    [[nodiscard]] std::string name() const override { return "TCP through rank 0"; }
    [[nodiscard]] int rank() const override { return rank_; }
    [[nodiscard]] int size() const override { return size_; }
    Status reduce_scatter(std::span<float> vector, const Parts& parts) override;
    Status all_gather(std::span<float> vector, const Parts& parts) override;
    Status broadcast(std::span<float> vector) override;
    Result<std::vector<Bytes>> all_gather(ByteView mine) override;
    Result<Bytes> broadcast(ByteView bytes) override;

    // Whether all ranks are still there, as far as this one sees; without waiting. For those that wait
    // elsewhere.
    [[nodiscard]] Status look();
    // Ends the object's use with this error: rank 0 tells the others.
    Error fail(Error error);
    // Of an operation that begins now, on the clock of monotonic_seconds().
    [[nodiscard]] double deadline() const { return monotonic_seconds() + deadline_seconds_; }
    // "rank 2 (host, process 1234)"
    [[nodiscard]] const std::string& describe(int rank) const {
        return names_[static_cast<std::size_t>(rank)];
    }

  private:
    Star(int rank, int size, double deadline_seconds);
    [[nodiscard]] Status gather_round(Listener listener);
    [[nodiscard]] Status go_to(const Meeting& meeting);
    [[nodiscard]] Status wait(int peer, short events, double until);
    [[nodiscard]] Status send(int peer, ByteView bytes, double until);
    [[nodiscard]] Status receive(int peer, std::span<std::byte> bytes, double until);
    [[nodiscard]] Status send_frame(int peer, ByteView bytes, double until);
    [[nodiscard]] Result<std::size_t> receive_length(int peer, double until);
    [[nodiscard]] Result<Bytes> receive_frame(int peer, double until);
    [[nodiscard]] Status send_floats(int peer, std::span<const float> values, double until);
    [[nodiscard]] Status begin_floats(int peer, std::size_t count, double until);
    [[nodiscard]] Status receive_floats(int peer, std::span<float> values, double until);
    [[nodiscard]] Error gone(int peer);
    [[nodiscard]] Socket& link(int peer) { return links_[static_cast<std::size_t>(peer)]; }

    int rank_;
    int size_;
    double deadline_seconds_;
    std::vector<Socket> links_;  // by rank: at rank 0 to all others, elsewhere to rank 0
    std::vector<std::string> names_;
    std::vector<float> piece_;  // of a vector that is added to rank 0's
    Status failed_;
};

}  // namespace Atoll::kernels
