// Signals, taken by one thread of their own so that nothing runs inside a signal handler.
#pragma once

#include <atomic>
#include <thread>

#include "base/stop.h"

namespace Atoll::node {

// From construction on: the first SIGINT, SIGTERM or SIGUSR1 requests `stop` (or ends the process at once
// while `watches_stop` is false), the second ends the process with 130; SIGHUP reopens the log file. Make it
// before any other thread: threads inherit the blocked signals.
class SignalThread {
  public:
    SignalThread(StopToken& stop, const std::atomic<bool>& watches_stop);
    ~SignalThread();
    SignalThread(const SignalThread&) = delete;
    SignalThread& operator=(const SignalThread&) = delete;

  private:
    std::jthread thread_;
};

// Gives a child process, between fork and exec, the default signals back. Async-signal-safe.
void restore_default_signals();

}  // namespace Atoll::node
