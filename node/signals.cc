#include "node/signals.h"

#include <pthread.h>
#include <unistd.h>

#include <array>
#include <csignal>

#include "base/log.h"

namespace Atoll::node {

namespace {

constexpr std::array kTaken = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};
constexpr int kWakeUp = SIGUSR2;  // sent by the destructor, to its own thread only

sigset_t taken_signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : kTaken) sigaddset(&set, signal);
    return set;
}

}  // namespace

SignalThread::SignalThread(StopToken& stop, const std::atomic<bool>& watches_stop) {
    const sigset_t set = taken_signals();
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    std::signal(SIGPIPE, SIG_IGN);  // a reader that went away is an error of write(), not the end of a node
    thread_ = std::jthread([&stop, &watches_stop, set](const std::stop_token& ending) {
        while (!ending.stop_requested()) {
            int signal = 0;
            if (sigwait(&set, &signal) != 0 || signal == kWakeUp) continue;
            if (signal == SIGHUP) {
                log::reopen();
            } else if (stop.requested() || !watches_stop) {
                ::_exit(130);
            } else {
                log::warn("stopping after this step; once more to stop at once");
                stop.request();
            }
        }
    });
}

SignalThread::~SignalThread() {
    thread_.request_stop();
    pthread_kill(thread_.native_handle(), kWakeUp);
}

void restore_default_signals() {
    const sigset_t set = taken_signals();
    sigprocmask(SIG_UNBLOCK, &set, nullptr);
    std::signal(SIGPIPE, SIG_DFL);
}

}  // namespace Atoll::node
