// What the suites of kernels/ops.h share: the devices under test, and device buffers with guards around them.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "kernels/ops.h"

namespace Atoll::kernels::testing {

struct Device {
    std::string name;
    std::function<std::unique_ptr<Ops>()> make;
};

// The devices of this program: tests/kernels/devices.cc, tests/emulation/devices.cc.
[[nodiscard]] std::vector<Device> devices();

inline std::string device_name(const ::testing::TestParamInfo<Device>& info) { return info.param.name; }

using Doubles = std::vector<double>;

// Numbers of the size activations have, a fixed sequence a seed; exactly representable as float.
inline Doubles random_doubles(std::size_t count, std::uint64_t seed, double spread = 1) {
    std::uint64_t state = seed * 0x9E3779B97F4A7C15U + 1;
    Doubles values(count);
    for (double& value : values) {
        double sum = -2;  // of four uniforms: nearly normal, variance 1/3
        for (int i = 0; i < 4; ++i) {
            state ^= state << 13U;
            state ^= state >> 7U;
            state ^= state << 17U;
            sum += static_cast<double>(state >> 11U) * 0x1p-53;
        }
        value = static_cast<double>(static_cast<float>(spread * 1.7 * sum));
    }
    return values;
}

// A buffer on the device with 64 guard floats on either side, which check() finds untouched.
class Guarded {
  public:
    Guarded(Ops& ops, const Doubles& values)
        : ops_(ops), size_(values.size()), memory_(ops.allocate(size_ + 128)) {
        std::vector<float> host(size_ + 128, kGuard);
        for (std::size_t i = 0; i < size_; ++i) host[64 + i] = static_cast<float>(values[i]);
        ops_.copy_to_device(memory_.get(), host);
    }
    Guarded(Ops& ops, std::size_t size) : Guarded(ops, Doubles(size, 0)) {}

    [[nodiscard]] float* data() { return memory_.get() + 64; }
    [[nodiscard]] std::vector<float> floats() {
        std::vector<float> host(size_ + 128);
        ops_.copy_to_host(host, memory_.get());
        for (std::size_t i = 0; i < 64; ++i) {
            EXPECT_EQ(host[i], kGuard) << "written " << 64 - i << " floats before the buffer";
            EXPECT_EQ(host[64 + size_ + i], kGuard) << "written " << i << " floats behind the buffer";
        }
        return {host.begin() + 64, host.begin() + 64 + static_cast<std::ptrdiff_t>(size_)};
    }

  private:
    static constexpr float kGuard = -12345.678F;
    Ops& ops_;
    std::size_t size_;
    std::shared_ptr<float[]> memory_;
};

// Largest difference as a share of the largest true value (of one, if that is smaller than one), and no NaN.
inline void expect_close(Guarded& actual, const Doubles& expected, double tolerance,
                         const std::string& what) {
    const std::vector<float> values = actual.floats();
    ASSERT_EQ(values.size(), expected.size()) << what;
    double largest = 1;
    for (const double value : expected) largest = std::max(largest, std::abs(value));
    for (std::size_t i = 0; i < values.size(); ++i) {
        const double difference = std::abs(static_cast<double>(values[i]) - expected[i]);
        ASSERT_TRUE(difference <= tolerance * largest)
            << what << "[" << i << "] is " << values[i] << ", expected " << expected[i];
    }
}

class OpsSuite : public ::testing::TestWithParam<Device> {
  protected:
    void SetUp() override { ops = GetParam().make(); }
    std::unique_ptr<Ops> ops;
};

}  // namespace Atoll::kernels::testing
