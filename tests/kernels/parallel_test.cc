#include "kernels/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace Atoll::kernels {
namespace {

TEST(ThreadPool, Runs_each_part_once) {
    for (const int threads : {1, 2, 5}) {
        ThreadPool pool(threads);
        EXPECT_EQ(pool.threads(), threads);
        for (const std::size_t parts : {0U, 1U, 2U, 7U, 1000U}) {
            std::vector<std::atomic<int>> runs(parts);
            pool.run(parts, [&](std::size_t part) { ++runs[part]; });
            for (const auto& count : runs) EXPECT_EQ(count, 1);
        }
    }
}

TEST(ThreadPool, Many_short_rounds_see_the_writes_of_the_round_before) {
    ThreadPool pool(4);
    std::vector<int> values(64, 0);
    for (int round = 0; round < 500; ++round) {
        pool.run(values.size(),
                 [&](std::size_t part) { values[part] += values[part] == round ? 1 : 1000000; });
    }
    EXPECT_EQ(values, std::vector<int>(64, 500));
}

TEST(ThreadPool, Ranges_cover_everything_on_grain_borders) {
    for (const int threads : {1, 3}) {
        ThreadPool pool(threads);
        for (const std::size_t size : {0U, 1U, 15U, 16U, 17U, 1000U}) {
            std::vector<std::atomic<int>> seen(size);
            pool.range(size, 16, [&](std::size_t begin, std::size_t end) {
                EXPECT_LT(begin, end);
                EXPECT_EQ(begin % 16, 0U);
                EXPECT_TRUE(end % 16 == 0 || end == size);
                for (std::size_t i = begin; i < end; ++i) ++seen[i];
            });
            for (const auto& count : seen) EXPECT_EQ(count, 1);
        }
    }
}

TEST(ThreadPool, One_thread_runs_on_the_caller) {
    ThreadPool pool(1);
    const auto caller = std::this_thread::get_id();
    pool.run(10, [&](std::size_t) { EXPECT_EQ(std::this_thread::get_id(), caller); });
}

}  // namespace
}  // namespace Atoll::kernels
