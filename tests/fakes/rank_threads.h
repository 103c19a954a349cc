// Ranks of a node as threads of one process, connected by TCP on loopback as processes are.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "kernels/collective/star.h"

namespace Atoll::fakes {

// Runs `body` as each of `size` ranks; returns when all have.
inline void run_ranks(int size, const std::function<void(std::unique_ptr<kernels::Star> star)>& body,
                      double deadline_seconds = 60) {
    auto listener = kernels::listen_on(0);
    ASSERT_TRUE(listener.ok()) << listener.error().message;
    const std::uint16_t port = listener->port;
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size; ++rank) {
        threads.emplace_back([&, rank] {
            auto star = kernels::Star::meet({rank, size, "localhost", port, deadline_seconds},
                                            rank == 0 ? std::move(*listener) : kernels::Listener{});
            ASSERT_TRUE(star.ok()) << star.error().message;
            body(std::move(*star));
        });
    }
    for (std::thread& thread : threads) thread.join();
}

}  // namespace Atoll::fakes
