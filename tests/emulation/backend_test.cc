// The door of the CUDA backend: which cards it refuses, and the memory that the card and the host share.
#include "kernels/cuda/backend.h"

#include <cuda_runtime.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/emulation/device.h"
#include "tests/emulation/door.h"

namespace Atoll::kernels::cuda {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class Backend : public ::testing::Test {
  protected:
    void TearDown() override {
        emulation::card() = usual_;
        set_page_source({});
    }
    [[nodiscard]] std::string refusal() {
        PageSource shared;
        char error[256] = "";
        const std::unique_ptr<Ops> ops(atoll_make_cuda_ops(&shared, error, sizeof error));
        EXPECT_EQ(ops, nullptr);
        return error;
    }

  private:
    const std::optional<cudaDeviceProp> usual_ = emulation::card();
};

TEST_F(Backend, Machines_and_cards_that_will_not_do_are_refused_with_the_reason) {
    emulation::card()->major = 7;
    emulation::card()->minor = 5;
    EXPECT_THAT(refusal(), AllOf(HasSubstr("emulated device"), HasSubstr("7.5"), HasSubstr("at least 8.0")));
    emulation::card()->major = 8;
    emulation::card()->concurrentManagedAccess = 0;
    EXPECT_THAT(refusal(), AllOf(HasSubstr("emulated device"), HasSubstr("concurrentManagedAccess")));
    emulation::card() = std::nullopt;
    EXPECT_THAT(refusal(), HasSubstr("no CUDA device is there"));
}

TEST_F(Backend, A_reason_that_is_too_long_is_cut) {
    emulation::card() = std::nullopt;
    PageSource shared;
    char error[8] = "";
    EXPECT_EQ(atoll_make_cuda_ops(&shared, error, sizeof error), nullptr);
    EXPECT_STREQ(error, "no CUDA");
}

TEST_F(Backend, Buffers_lie_in_memory_that_host_and_card_share) {
    PageSource shared;
    char error[256] = "";
    const std::unique_ptr<Ops> ops(atoll_make_cuda_ops(&shared, error, sizeof error));
    ASSERT_NE(ops, nullptr) << error;
    FlatBuffer before(100);
    set_page_source(shared);
    const std::size_t used = emulation::allocated_bytes();
    {
        FlatBuffer buffer(1003), other(17);
        EXPECT_EQ(emulation::allocated_bytes() - used, 1020 * sizeof(float));
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64, 0U);
        EXPECT_EQ(std::ranges::count(buffer.span(), 0.0F), 1003);
        ops->fill(buffer.data(), 2, buffer.size());
        EXPECT_EQ(std::ranges::count(buffer.span(), 2.0F), 1003) << "the host reads what the card wrote";
        std::swap(buffer, other);
        before = std::move(buffer);  // the host's pages go to `buffer`, and each to where it came from
        EXPECT_EQ(before.size(), 17U);
    }
    EXPECT_EQ(emulation::allocated_bytes() - used, 17 * sizeof(float));
    before = FlatBuffer();
    EXPECT_EQ(emulation::allocated_bytes(), used);
    EXPECT_THROW(FlatBuffer(std::size_t{1} << 40U), std::bad_alloc);
}

}  // namespace
}  // namespace Atoll::kernels::cuda
