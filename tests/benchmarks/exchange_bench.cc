// One exchange of a 124M-parameter fp32 vector between two processes on loopback: ours (whole node transport:
// chunks, tree hash, an envelope without its signature, reassembly) against bare libzmq, without and with
// CURVE. Bare libzmq sends frames of 1 MiB and of 512 KiB; the ratio is against the faster.
//
//   exchange_bench [megabytes] [repetitions]
//
// Run it on an idle machine; it prints medians and the TCP congestion control in use.
#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <thread>
#include <vector>
#include <zmq.hpp>

#include "base/check.h"
#include "node/network/sockets.h"
#include "node/network/transport.h"

namespace {

using namespace Atoll;
using namespace Atoll::node;

constexpr int kTurns = 3;

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Two processes and two pipes: one receives, the other sends and takes the time until the first has it all.
struct Pipes {
    int to_receiver[2];
    int to_sender[2];
    Pipes() { ATOLL_CHECK(pipe(to_receiver) == 0 && pipe(to_sender) == 0); }
    ~Pipes() {
        for (const int* ends : {to_receiver, to_sender}) {
            close(ends[0]);
            close(ends[1]);
        }
    }
    Pipes(const Pipes&) = delete;
    Pipes& operator=(const Pipes&) = delete;
    static void put(int fd, const void* data, std::size_t size) {
        ATOLL_CHECK(write(fd, data, size) == static_cast<ssize_t>(size));
    }
    static void get(int fd, void* data, std::size_t size) {
        for (std::size_t done = 0; done < size;) {
            const ssize_t n = read(fd, static_cast<char*>(data) + done, size - done);
            ATOLL_CHECK(n > 0);
            done += static_cast<std::size_t>(n);
        }
    }
    void tell_sender(const std::string& text) {
        std::array<char, 128> line{};
        std::copy(text.begin(), text.end(), line.begin());
        put(to_sender[1], line.data(), line.size());
    }
    std::string hear_receiver() {
        std::array<char, 128> line{};
        get(to_sender[0], line.data(), line.size());
        return line.data();
    }
};

using Receiver = std::function<void(Pipes&, int repetitions)>;
using Sender = std::function<std::vector<double>(Pipes&, int repetitions)>;

pid_t in_child(const std::function<void()>& body) {
    const pid_t pid = fork();
    ATOLL_CHECK(pid >= 0);
    if (pid != 0) return pid;
    body();
    _exit(0);
}

// Both in processes of their own: no measurement inherits the heap of the one before.
std::vector<double> measure(const Receiver& receiver, const Sender& sender, int repetitions) {
    Pipes pipes;
    int result[2];
    ATOLL_CHECK(pipe(result) == 0);
    const pid_t children[] = {in_child([&] { receiver(pipes, repetitions); }), in_child([&] {
                                  const std::vector<double> seconds = sender(pipes, repetitions);
                                  Pipes::put(result[1], seconds.data(), seconds.size() * sizeof(double));
                              })};
    std::vector<double> seconds(static_cast<std::size_t>(repetitions));
    Pipes::get(result[0], seconds.data(), seconds.size() * sizeof(double));
    for (const pid_t pid : children) {
        int status = 0;
        waitpid(pid, &status, 0);
        ATOLL_CHECK(status == 0);
    }
    close(result[0]);
    close(result[1]);
    seconds.erase(seconds.begin());  // the first one pays for fresh memory
    return seconds;
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

const gossip::Identity& identity(int which) {
    static const gossip::Identity sender = gossip::Identity::from_seed(Bytes(32, std::byte{1}));
    static const gossip::Identity receiver = gossip::Identity::from_seed(Bytes(32, std::byte{2}));
    return which == 0 ? sender : receiver;
}

SharedBytes vector_of(std::size_t bytes) {
    Bytes data(bytes);
    for (std::size_t i = 0; i < bytes; ++i) data[i] = static_cast<std::byte>((i * 2654435761U) >> 13U);
    return SharedBytes(std::move(data));
}

// ---- bare libzmq: one DEALER, one ROUTER, sent without copying ----

constexpr std::size_t kFrameBytes[] = {1U << 20U, 512U << 10U};

std::vector<double> bare(std::size_t frame_bytes, std::size_t bytes, bool curve, int repetitions) {
    const Receiver receiver = [=](Pipes& pipes, int n) {
        zmq::context_t context;
        zmq::socket_t router(context, zmq::socket_type::router);
        router.set(zmq::sockopt::rcvhwm, kBulkHighWater);
        if (curve) set_curve_server(router, identity(1));
        router.bind("tcp://127.0.0.1:*");
        pipes.tell_sender(router.get(zmq::sockopt::last_endpoint));
        for (int i = 0; i < n; ++i) {
            for (std::size_t got = 0; got < bytes;) {
                zmq::message_t part;
                ATOLL_CHECK(router.recv(part).has_value());
                if (!part.more()) got += part.size();
            }
            pipes.tell_sender("done");
        }
    };
    const Sender sender = [=](Pipes& pipes, int n) {
        const SharedBytes data = vector_of(bytes);
        zmq::context_t context;
        zmq::socket_t dealer(context, zmq::socket_type::dealer);
        dealer.set(zmq::sockopt::sndhwm, kBulkHighWater);
        if (curve) set_curve_client(dealer, identity(0), identity(1).curve_public_key());
        dealer.connect(pipes.hear_receiver());
        std::vector<double> seconds;
        for (int i = 0; i < n; ++i) {
            const double start = now();
            for (std::size_t at = 0; at < bytes; at += frame_bytes) {
                ATOLL_CHECK(dealer
                                .send(shared(data.slice(at, std::min(frame_bytes, bytes - at))),
                                      zmq::send_flags::none)
                                .has_value());
            }
            (void)pipes.hear_receiver();
            seconds.push_back(now() - start);
        }
        return seconds;
    };
    return measure(receiver, sender, repetitions);
}

// ---- ours ----

class Counter : public Transport::Handler {
  public:
    explicit Counter(std::size_t bytes) : bytes_(bytes) {}
    void on_message(const gossip::PeerId&, ByteView, SharedBytes payload, const Hash&) override {
        ATOLL_CHECK(payload.size() == bytes_);
        ++count;
        count.notify_all();
    }
    void on_guest(const std::string&, ByteView, const std::function<void(const gossip::PeerId&)>&) override {}
    std::atomic<int> count{0};

  private:
    std::size_t bytes_;
};

std::vector<double> ours(std::size_t bytes, bool curve, int repetitions) {
    const TransportOptions options{.plain_for_benchmarks = !curve};
    const auto start = [&options](int which, Counter& counter, Gate& gate) {
        auto transport = Transport::start(identity(which), options, counter, gate);
        ATOLL_CHECK(transport.ok());
        return std::move(*transport);
    };
    const Receiver receiver = [=](Pipes& pipes, int n) {
        Counter counter(bytes);
        Gate gate;
        const auto transport = start(1, counter, gate);
        ATOLL_CHECK(transport->connect(identity(0).id(), "").ok());
        pipes.tell_sender(transport->bound_address());
        for (int i = 0; i < n; ++i) {
            counter.count.wait(i);
            pipes.tell_sender("done");
        }
    };
    const Sender sender = [=](Pipes& pipes, int n) {
        const SharedBytes data = vector_of(bytes);
        Counter counter(bytes);
        Gate gate;
        const auto transport = start(0, counter, gate);
        ATOLL_CHECK(transport->connect(identity(1).id(), pipes.hear_receiver()).ok());
        while (!transport->connected(identity(1).id())) std::this_thread::yield();
        std::vector<double> seconds;
        for (int i = 0; i < n; ++i) {
            const double begin = now();
            const Status sent = transport->send(
                identity(1).id(), [](const Hash& hash) { return Bytes(hash.begin(), hash.end()); }, data);
            ATOLL_CHECK(sent.ok());
            (void)pipes.hear_receiver();
            seconds.push_back(now() - begin);
        }
        return seconds;
    };
    return measure(receiver, sender, repetitions);
}

}  // namespace

int main(int argc, char** argv) {
    const std::size_t bytes = (argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 496) * 1000 * 1000;
    const int repetitions = 1 + (argc > 2 ? std::atoi(argv[2]) : 5);
    std::string control = "unknown";
    std::ifstream("/proc/sys/net/ipv4/tcp_congestion_control") >> control;
    fmt::print("{} MB, two processes, loopback TCP, congestion control {}\n", bytes / 1000000, control);
    const auto speed = [bytes](const std::vector<double>& seconds) {
        return static_cast<double>(bytes) / median(seconds) / 1e9;
    };
    for (const bool curve : {false, true}) {
        // Taken in turn, so that what else the machine does meets all.
        std::array<std::vector<double>, std::size(kFrameBytes)> bare_seconds;
        std::vector<double> our_seconds;
        for (int turn = 0; turn < kTurns; ++turn) {
            for (std::size_t i = 0; i < bare_seconds.size(); ++i) {
                for (const double seconds : bare(kFrameBytes[i], bytes, curve, repetitions))
                    bare_seconds[i].push_back(seconds);
            }
            for (const double seconds : ours(bytes, curve, repetitions)) our_seconds.push_back(seconds);
        }
        double fastest = 0;
        fmt::print("{}\n", curve ? "CURVE" : "plain");
        for (std::size_t i = 0; i < bare_seconds.size(); ++i) {
            fmt::print("  libzmq, frames of {:4} KiB {:6.2f} GB/s\n", kFrameBytes[i] >> 10U,
                       speed(bare_seconds[i]));
            fastest = std::max(fastest, speed(bare_seconds[i]));
        }
        fmt::print("  ours                     {:6.2f} GB/s   ratio {:.2f}\n", speed(our_seconds),
                   speed(our_seconds) / fastest);
    }
    return 0;
}
