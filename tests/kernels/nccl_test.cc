// The calls of NCCL, recorded by a fake of it (fake_nccl.cc) that also does the arithmetic between threads.
#include "kernels/collective/nccl.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <latch>

#include "tests/fakes/rank_threads.h"
#include "tests/kernels/fake_nccl.h"

namespace Atoll::kernels {
namespace {

using fakes::run_ranks;
using testing::ElementsAre;
using testing::HasSubstr;

class Nccl : public testing::Test {
  protected:
    static constexpr const char* kFile = ATOLL_FAKE_NCCL;
    NcclLibrary library_ = load_nccl(kFile, kFile).value();
    fakes::FakeNccl& fake_ =
        *reinterpret_cast<fakes::GetFakeNccl>(::dlsym(::dlopen(kFile, RTLD_NOW), fakes::kFakeNcclSymbol))();

    Nccl() { fake_.reset(); }

    void with_nccl(int ranks, const std::function<void(Collective&)>& body) {
        run_ranks(ranks, [&](std::unique_ptr<Star> star) {
            auto nccl = make_nccl(library_, std::move(star));
            ASSERT_TRUE(nccl.ok()) << nccl.error().message;
            body(**nccl);
        });
    }
};

TEST_F(Nccl, Sums_parts_and_gathers_them) {
    const Parts parts({2, 2, 7});  // rank 1 has none
    with_nccl(3, [&](Collective& nccl) {
        EXPECT_EQ(nccl.name(), "NCCL");
        std::vector<float> vector(7, static_cast<float>(nccl.rank() + 1));
        ASSERT_TRUE(nccl.reduce_scatter(vector, parts).ok());
        for (const float value : parts.of(nccl.rank(), std::span(vector))) EXPECT_EQ(value, 6.0F);
        ASSERT_TRUE(nccl.all_gather(vector, parts).ok());
        EXPECT_THAT(vector, testing::Each(6.0F));
        vector.assign(7, static_cast<float>(nccl.rank()));
        ASSERT_TRUE(nccl.broadcast(vector).ok());
        EXPECT_THAT(vector, testing::Each(0.0F));
        vector.assign(7, 1.0F);
        ASSERT_TRUE(nccl.all_reduce(vector).ok());
        EXPECT_THAT(vector, testing::Each(3.0F));
        double number = nccl.rank();
        ASSERT_TRUE(nccl.sum({&number, 1}).ok());
        EXPECT_EQ(number, 3.0);
    });
}

TEST_F(Nccl, Makes_these_calls) {
    const Parts parts({2, 2, 7});
    with_nccl(3, [&](Collective& nccl) {
        std::vector<float> vector(7);
        ASSERT_TRUE(nccl.reduce_scatter(vector, parts).ok());
        ASSERT_TRUE(nccl.all_gather(vector, parts).ok());
        ASSERT_TRUE(nccl.broadcast(vector).ok());
    });
    for (int rank = 0; rank < 3; ++rank) {
        EXPECT_THAT(fake_.calls(rank),
                    ElementsAre("ncclCommInitRank(3, " + std::to_string(rank) + ")",
                                // floats are type 7; a part of nothing is left out
                                "ncclGroupStart()", "ncclReduce(in place at 0, 2 of type 7, root 0)",
                                "ncclReduce(in place at 2, 5 of type 7, root 2)", "ncclGroupEnd()",
                                "ncclGroupStart()", "ncclBroadcast(in place at 0, 2 of type 7, root 0)",
                                "ncclBroadcast(in place at 2, 5 of type 7, root 2)", "ncclGroupEnd()",
                                "ncclGroupStart()", "ncclBroadcast(in place at 0, 7 of type 7, root 0)",
                                "ncclGroupEnd()", "ncclCommDestroy()"));
    }
}

TEST_F(Nccl, An_error_at_one_rank_stops_all_with_its_name) {
    fake_.fail("ncclReduce", 1, 2);
    fake_.hang(0, 0);  // as cards do whose partners never come
    fake_.hang(1, 0);
    with_nccl(2, [&](Collective& nccl) {
        std::vector<float> vector(4);
        const Status status = nccl.reduce_scatter(vector, Parts::even(4, 2));
        ASSERT_FALSE(status.ok());
        EXPECT_THAT(status.error().message, HasSubstr("rank 1 ("));
        if (nccl.rank() == 1) {
            EXPECT_THAT(status.error().message, HasSubstr("ncclReduce on rank 1 ("));
            EXPECT_THAT(status.error().message, HasSubstr("unhandled system error"));
        }
        EXPECT_FALSE(nccl.reduce_scatter(vector, Parts::even(4, 2)).ok()) << "and stays so";
    });
    EXPECT_EQ(fake_.calls(0).back(), "ncclCommAbort()");
    EXPECT_EQ(fake_.calls(1).back(), "ncclCommAbort()");
}

TEST_F(Nccl, An_asynchronous_error_ends_the_wait) {
    fake_.hang(0, 2);
    fake_.hang(1, 2);
    with_nccl(2, [&](Collective& nccl) {
        std::vector<float> vector(4);
        const Status status = nccl.all_gather(vector, Parts::even(4, 2));
        ASSERT_FALSE(status.ok());
        EXPECT_THAT(status.error().message, HasSubstr("unhandled system error"));
    });
}

TEST_F(Nccl, A_communicator_that_one_rank_cannot_make_is_nobodys) {
    fake_.fail("ncclCommInitRank", 1, 2);
    run_ranks(2, [&](std::unique_ptr<Star> star) {
        const int rank = star->rank();
        const auto nccl = make_nccl(library_, std::move(star));
        ASSERT_FALSE(nccl.ok());
        EXPECT_THAT(nccl.error().message, HasSubstr("ncclCommInitRank on rank 1 ("));
        EXPECT_EQ(nccl.error().message.starts_with("rank 1: "), rank == 0);
    });
}

TEST_F(Nccl, A_library_that_is_not_there_or_is_none_is_said_to_be) {
    const auto missing = load_nccl("libno_such_nccl.so.2", kFile);
    ASSERT_FALSE(missing.ok());
    EXPECT_EQ(missing.error().code, ErrorCode::unavailable);
    EXPECT_THAT(missing.error().message, HasSubstr("libno_such_nccl.so.2 is not there"));
    const auto driver = load_nccl(kFile, "libno_such_driver.so.1");
    ASSERT_FALSE(driver.ok());
    EXPECT_THAT(driver.error().message, HasSubstr("no NVIDIA driver"));
    const auto other = load_nccl("libc.so.6", kFile);
    ASSERT_FALSE(other.ok());
    EXPECT_THAT(other.error().message, HasSubstr("libc.so.6 has no function ncclGetVersion"));
}

TEST(Cards, Each_rank_of_a_machine_takes_its_own) {
    EXPECT_EQ(card_of(2, nullptr).value(), "2");
    EXPECT_EQ(card_of(0, "4,5,6").value(), "4");
    EXPECT_EQ(card_of(2, "4,5,6").value(), "6");
    EXPECT_EQ(card_of(1, "GPU-a,GPU-b").value(), "GPU-b");
    EXPECT_EQ(card_of(3, "7").value(), "7") << "the launcher has chosen";
    const auto missing = card_of(3, "4,5,6");
    ASSERT_FALSE(missing.ok());
    EXPECT_THAT(missing.error().message,
                HasSubstr("CUDA_VISIBLE_DEVICES = 4,5,6 has no card for local rank 3"));
}

}  // namespace
}  // namespace Atoll::kernels
