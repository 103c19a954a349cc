// A member's part in a run: the one place that builds codec, topology, averaging and algorithm from the
// configuration and runs them over a Host. The network node and the simulator use it unchanged.
#pragma once

#include <memory>

#include "federation/algorithm/algorithm.h"
#include "federation/run_config.h"
#include "federation/tracing.h"
#include "gossip/host.h"

namespace Atoll::federation {

enum class JoinMode {
    first,  // the run begins: train from this member's own state
    late,  // the run may be under way (a joiner, a node back after a crash): begin with the newest state of a
           // peer
};

struct SessionOptions {
    int threads = 1;           // of the codec
    double join_seconds = 30;  // JoinMode::late: how long to look for members
    // False: the worker does not hold what the run begins with (run.initial_model), only a peer's state will
    // do.
    bool holds_beginning = true;
    bool leave = false;  // a federated client: take back what the server counts of it, and end
    SpanSink spans;      // is told what the member does when (federation/tracing.h); empty: nobody is
};

class Session {
  public:
    // `worker` and `host` outlive the session. Views arrive as ViewChanged in the host's mailbox, from any
    // kind of membership. Errors (invalid): unknown names.
    [[nodiscard]] static Result<std::unique_ptr<Session>> make(const RunConfig& config, Worker& worker,
                                                               gossip::Host& host,
                                                               const SessionOptions& options = {});
    // Waits for the state server: precondition: the host is stopping if run() was called. Between the end of
    // run() and that peers can still fetch the last state.
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    // Restore a checkpoint into it before run(), save one in Observer::on_round or after run().
    [[nodiscard]] Algorithm& algorithm() { return *algorithm_; }

    // Trains until the rounds are done. Errors: interrupted (by `stop` or a stopping host, between two steps:
    // save a checkpoint and nothing is lost), unavailable (JoinMode::late: members are there, but none
    // answered; the state a joiner has of its own would only harm the run), the worker's or the observer's.
    [[nodiscard]] Status run(Observer& observer, const StopToken& stop, JoinMode mode);

  private:
    Session(Worker& worker, gossip::Host& host, const SessionOptions& options)
        : worker_(worker), host_(host), options_(options), inbox_(host) {}
    [[nodiscard]] Status join(Context& context);
    void trace();
    [[nodiscard]] Worker& worker() { return traced_worker_ ? *traced_worker_ : worker_; }

    Worker& worker_;
    gossip::Host& host_;
    SessionOptions options_;
    std::uint64_t seed_ = 0;
    bool served_ = false;  // by a server, which tells a joiner where the run stands
    gossip::Inbox inbox_;
    std::unique_ptr<TracingWorker> traced_worker_;
    std::unique_ptr<gossip::Codec> codec_;
    std::unique_ptr<gossip::Topology> topology_;
    std::unique_ptr<gossip::Averaging> averaging_;
    std::unique_ptr<Algorithm> algorithm_;
    std::unique_ptr<gossip::Activity> state_server_;
};

}  // namespace Atoll::federation
