// The emulated device itself: it runs what a kernel says, and ends the process where a GPU would go wrong in
// silence.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/rng.h"
#include "kernels/cuda/block.cuh"
#include "kernels/cuda/launch.cuh"
#include "tests/emulation/device.h"

namespace Atoll::emulation {
namespace {

using kernels::cuda::block_fold;
using kernels::cuda::launch;
using kernels::cuda::shared_floats;
using kernels::cuda::Sum;

class EmulatedDevice : public ::testing::Test {
  protected:
    void SetUp() override { ::testing::FLAGS_gtest_death_test_style = "threadsafe"; }
    void TearDown() override { schedule(0); }
};

void write_position(float* out) {
    const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    out[block * blockDim.x * blockDim.y * blockDim.z + thread] = static_cast<float>(block * 1000 + thread);
}

TEST_F(EmulatedDevice, Runs_every_thread_of_every_block_once) {
    for (const std::uint64_t seed : {0UL, 7UL}) {
        schedule(seed);
        std::vector<float> out(2 * 3 * 2 * 24, -1);
        launch(nullptr, dim3(2, 3, 2), dim3(4, 3, 2), 0, write_position, out.data());
        for (std::size_t i = 0; i < out.size(); ++i) {
            EXPECT_EQ(out[i], static_cast<float>(i / 24 * 1000 + i % 24)) << i;
        }
    }
}

void sum_block(const float* x, float* out) {
    out[threadIdx.x] = block_fold(x[threadIdx.x], shared_floats(), Sum());
}

TEST_F(EmulatedDevice, Threads_of_a_block_sum_together_in_any_order_to_the_same_bits) {
    std::vector<float> x(256), first(256), out(256);
    Rng rng(1);
    for (float& value : x) value = static_cast<float>(rng.normal());
    launch(nullptr, 1, 256, 8 * sizeof(float), sum_block, x.data(), first.data());
    EXPECT_NEAR(first[0], std::accumulate(x.begin(), x.end(), 0.0), 1e-5);
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        schedule(seed);
        launch(nullptr, 1, 256, 8 * sizeof(float), sum_block, x.data(), out.data());
        EXPECT_EQ(out, first);
        EXPECT_EQ(out, std::vector<float>(256, first[0]));
    }
}

void reverse(float* x, bool with_barrier) {
    float* const shared = shared_floats();
    shared[threadIdx.x] = x[threadIdx.x];
    if (with_barrier) __syncthreads();
    x[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

TEST_F(EmulatedDevice, A_missing_barrier_shows_as_values_that_nobody_has_written) {
    std::vector<float> x(64);
    std::iota(x.begin(), x.end(), 0.0F);
    std::vector<float> raced = x;
    launch(nullptr, 1, 64, 64 * sizeof(float), reverse, x.data(), true);
    for (std::size_t i = 0; i < x.size(); ++i) EXPECT_EQ(x[i], static_cast<float>(63 - i));
    launch(nullptr, 1, 64, 64 * sizeof(float), reverse, raced.data(), false);
    EXPECT_TRUE(std::isnan(raced[0]));
}

void half_waits() {
    if (threadIdx.x < 16) __syncthreads();
}
void lanes_stay_away() {
    if (threadIdx.x % 32 != 5) __syncwarp();
}
void write_behind_shared(unsigned at) { shared_floats()[at] = 1; }
void do_nothing() {}

using EmulatedDeviceDeathTest = EmulatedDevice;

TEST_F(EmulatedDeviceDeathTest, Barriers_that_some_never_reach_are_named) {
    EXPECT_DEATH(launch(nullptr, 1, 64, 0, half_waits), "thread 16 .* without a barrier that others wait at");
    EXPECT_DEATH(launch(nullptr, 1, 64, 0, lanes_stay_away), "waits for lanes of its warp that do not come");
}

TEST_F(EmulatedDeviceDeathTest, Writes_outside_of_memory_are_named) {
    launch(nullptr, 1, 1, 16 * sizeof(float), write_behind_shared, 15);
    EXPECT_DEATH(launch(nullptr, 1, 1, 16 * sizeof(float), write_behind_shared, 16),
                 "behind its shared memory");
    EXPECT_DEATH(
        {
            auto* const memory = static_cast<float*>(allocate(64));
            memory[16] = 1;
            release(memory);
        },
        "device memory of 64 bytes was written");
}

TEST_F(EmulatedDevice, Limits_of_a_card_are_kept) {
    EXPECT_THROW(launch(nullptr, 1, 1025, 0, do_nothing), kernels::cuda::DeviceError);
    EXPECT_THROW(launch(nullptr, dim3(1, 65536), 1, 0, do_nothing), kernels::cuda::DeviceError);
    EXPECT_NO_THROW(launch(nullptr, 1, 1, kSharedBytesMax, do_nothing));
    EXPECT_THROW(launch(nullptr, 1, 1, kSharedBytesMax + 1, do_nothing), kernels::cuda::DeviceError);
    void* memory = nullptr;
    EXPECT_EQ(cudaMalloc(&memory, std::size_t{1} << 40U), cudaErrorMemoryAllocation);
}

TEST_F(EmulatedDevice, Fresh_memory_holds_no_numbers) {
    auto* const memory = static_cast<float*>(allocate(40));
    for (int i = 0; i < 10; ++i) EXPECT_TRUE(std::isnan(memory[i]));
    release(memory);
}

}  // namespace
}  // namespace Atoll::emulation
