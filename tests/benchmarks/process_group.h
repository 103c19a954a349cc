// A group of processes on this machine that do something together and take the time: for benchmarks of what
// runs between nodes.
#pragma once

#include <fmt/core.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "base/check.h"

namespace Atoll::benchmarks {

class ProcessGroup {
  public:
    static constexpr std::size_t kMembersMax = 64;

    explicit ProcessGroup(std::size_t members) : members_(members) {
        ATOLL_CHECK(members >= 1 && members <= kMembersMax);
        void* const memory =
            mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        ATOLL_CHECK(memory != MAP_FAILED);
        shared_ = new (memory) Shared{};
        pthread_barrierattr_t attributes;
        pthread_barrierattr_init(&attributes);
        pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        pthread_barrier_init(&shared_->barrier, &attributes, static_cast<unsigned>(members));
    }

    [[nodiscard]] std::size_t members() const { return members_; }

    // Runs body(member) in a process for each member and waits for all.
    void run(const std::function<void(std::size_t member)>& body) {
        std::fflush(stdout);
        for (std::size_t member = 0; member < members_; ++member) {
            const pid_t pid = fork();
            ATOLL_CHECK(pid >= 0);
            if (pid != 0) continue;
            body(member);
            std::fflush(stdout);
            _exit(0);
        }
        for (std::size_t member = 0; member < members_; ++member) {
            int status = 0;
            ATOLL_CHECK(wait(&status) > 0 && status == 0);
        }
    }

    // ---- within run() ----

    void wait_for_all() { pthread_barrier_wait(&shared_->barrier); }
    // A short text that all members read afterwards with text_of().
    void tell(std::size_t member, const std::string& text) {
        ATOLL_CHECK(text.size() < sizeof shared_->text[0]);
        std::memcpy(shared_->text[member], text.c_str(), text.size() + 1);
        wait_for_all();
    }
    [[nodiscard]] std::string text_of(std::size_t member) const { return shared_->text[member]; }
    // Seconds from when all have come here to when the last is through with `work`; the same at every member.
    double seconds(std::size_t member, const std::function<void()>& work) {
        wait_for_all();
        const auto start = std::chrono::steady_clock::now();
        work();
        shared_->seconds[member] =
            std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        wait_for_all();
        const double slowest = *std::max_element(shared_->seconds, shared_->seconds + members_);
        wait_for_all();
        return slowest;
    }
    // Median of `repetitions`, after one that pays for fresh memory.
    double median_seconds(std::size_t member, int repetitions, const std::function<void()>& work) {
        std::vector<double> all;
        for (int i = 0; i <= repetitions; ++i) all.push_back(seconds(member, work));
        std::sort(all.begin() + 1, all.end());
        return all[static_cast<std::size_t>(repetitions + 2) / 2];
    }

  private:
    struct Shared {
        pthread_barrier_t barrier;
        char text[kMembersMax][64];
        double seconds[kMembersMax];
    };
    std::size_t members_;
    Shared* shared_;  // of all processes
};

// The line that every all-reduce program prints, one a measurement: bus bandwidth as nccl-tests define it.
inline void print_all_reduce(const std::string& what, std::size_t members, std::size_t values,
                             double seconds) {
    const double n = static_cast<double>(members);
    const double bytes = static_cast<double>(values) * sizeof(float);
    fmt::print("{:<28} {:>2} processes {:>12} values {:>9.3f} s {:>8.3f} GB/s\n", what, members, values,
               seconds, 2 * (n - 1) / n * bytes / seconds * 1e-9);
}

}  // namespace Atoll::benchmarks
