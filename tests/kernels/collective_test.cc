// Ranks that meet over TCP: sums in their order, everybody's numbers, and what is said when one is missing.
#include "kernels/collective/collective.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <latch>

#include "base/rng.h"
#include "tests/fakes/rank_threads.h"

namespace Atoll::kernels {
namespace {

using fakes::run_ranks;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<float> values_of(int rank, std::size_t size) {
    Rng rng = Rng(7).split("values", static_cast<std::uint64_t>(rank));
    std::vector<float> values(size);
    for (float& value : values) value = static_cast<float>(rng.normal());
    return values;
}

// ((r0 + r1) + r2) + ... in fp32.
std::vector<float> sum_in_order(int ranks, std::size_t size) {
    std::vector<float> sum = values_of(0, size);
    for (int rank = 1; rank < ranks; ++rank) {
        const std::vector<float> values = values_of(rank, size);
        for (std::size_t i = 0; i < size; ++i) sum[i] += values[i];
    }
    return sum;
}

TEST(Parts, Even_parts_cover_the_vector) {
    const Parts parts = Parts::even(10, 4);
    EXPECT_EQ(parts.ranks(), 4);
    EXPECT_EQ(parts.total(), 10U);
    std::vector<std::size_t> sizes;
    for (int rank = 0; rank < 4; ++rank) sizes.push_back(parts.size(rank));
    EXPECT_THAT(sizes, ElementsAre(3, 3, 2, 2));
    EXPECT_EQ(Parts::even(2, 4).size(3), 0U);
    EXPECT_EQ(Parts::even(0, 3).total(), 0U);
}

TEST(Collective, A_rank_without_others_keeps_its_numbers) {
    const auto alone = make_alone();
    std::vector<float> vector = {1, 2, 3};
    ASSERT_TRUE(alone->all_reduce(vector).ok());
    ASSERT_TRUE(alone->reduce_scatter(vector, Parts({3})).ok());
    EXPECT_THAT(vector, ElementsAre(1, 2, 3));
    double number = 0.5;
    ASSERT_TRUE(alone->sum({&number, 1}).ok());
    EXPECT_EQ(number, 0.5);
    EXPECT_EQ(alone->agree(Error{ErrorCode::corrupt, "no"}).error().message, "no");
}

class Ranks : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Sizes, Ranks, testing::Values(1, 2, 3, 4));

TEST_P(Ranks, Sums_are_taken_in_the_order_of_ranks) {
    const int ranks = GetParam();
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{1003}, std::size_t{600'000}}) {
        const std::vector<float> expected = sum_in_order(ranks, size);
        run_ranks(ranks, [&](std::unique_ptr<Star> star) {
            std::vector<float> vector = values_of(star->rank(), size);
            ASSERT_TRUE(star->all_reduce(vector).ok());
            EXPECT_EQ(vector, expected) << "the same bits";
        });
    }
}

TEST_P(Ranks, Parts_of_any_size_go_to_their_rank_and_back) {
    const int ranks = GetParam();
    constexpr std::size_t kSize = 97;
    std::vector<std::size_t> ends(static_cast<std::size_t>(ranks), kSize);
    ends[0] = 0;  // an empty one
    if (ranks == 1) ends[0] = kSize;
    if (ranks == 4) ends[1] = 5;
    const Parts parts(ends);
    const std::vector<float> expected = sum_in_order(ranks, kSize);
    run_ranks(ranks, [&](std::unique_ptr<Star> star) {
        std::vector<float> vector = values_of(star->rank(), kSize);
        ASSERT_TRUE(star->reduce_scatter(vector, parts).ok());
        const auto own = parts.of(star->rank(), std::span<const float>(vector));
        const auto wanted = parts.of(star->rank(), std::span<const float>(expected));
        EXPECT_TRUE(std::equal(own.begin(), own.end(), wanted.begin(), wanted.end()));
        ASSERT_TRUE(star->all_gather(vector, parts).ok());
        EXPECT_EQ(vector, expected);
        vector = values_of(star->rank(), kSize);
        ASSERT_TRUE(star->broadcast(vector).ok());
        EXPECT_EQ(vector, values_of(0, kSize));
    });
}

TEST_P(Ranks, Bytes_and_doubles_reach_everybody) {
    const int ranks = GetParam();
    run_ranks(ranks, [&](std::unique_ptr<Star> star) {
        const std::string mine(static_cast<std::size_t>(star->rank()), 'x');
        const auto all = star->all_gather(as_byte_view(mine));
        ASSERT_TRUE(all.ok());
        ASSERT_EQ(all->size(), static_cast<std::size_t>(ranks));
        for (std::size_t i = 0; i < all->size(); ++i) EXPECT_EQ((*all)[i].size(), i);
        const auto told = star->broadcast(as_byte_view(star->rank() == 0 ? "go on" : ""));
        ASSERT_TRUE(told.ok());
        EXPECT_EQ(told->size(), 5U);
        double numbers[] = {1.0, 0.1 * star->rank()};
        ASSERT_TRUE(star->sum(numbers).ok());
        EXPECT_EQ(numbers[0], ranks);
        EXPECT_NEAR(numbers[1], 0.1 * ranks * (ranks - 1) / 2, 1e-12);
        EXPECT_TRUE(star->barrier().ok());
    });
}

TEST(Collective, An_error_of_one_rank_is_everybodys) {
    run_ranks(3, [](std::unique_ptr<Star> star) {
        EXPECT_TRUE(star->agree({}).ok());
        const Status mine =
            star->rank() == 1 ? Status(Error{ErrorCode::corrupt, "shard 3 is damaged"}) : Status();
        const Status all = star->agree(mine);
        ASSERT_FALSE(all.ok());
        EXPECT_EQ(all.error().code, ErrorCode::corrupt);
        EXPECT_EQ(all.error().message,
                  star->rank() == 1 ? "shard 3 is damaged" : "rank 1: shard 3 is damaged");
        EXPECT_TRUE(star->barrier().ok()) << "they can still talk";
    });
}

TEST(Collective, A_rank_that_is_gone_is_named_everywhere) {
    run_ranks(4, [&](std::unique_ptr<Star> star) {
        if (star->rank() == 2) return;
        std::vector<float> vector(300'000, 1.0F);
        // Rank 0 waits for rank 1 first, and must see that rank 2 will never come.
        const Status status = star->all_reduce(vector);
        ASSERT_FALSE(status.ok());
        EXPECT_EQ(status.error().code, ErrorCode::failed);
        EXPECT_THAT(status.error().message, HasSubstr("rank 2 ("));
        EXPECT_THAT(status.error().message, HasSubstr("is gone"));
        EXPECT_EQ(star->barrier().error().message, status.error().message) << "and stays gone";
    });
}

TEST(Collective, Those_that_wait_elsewhere_see_it_too) {
    std::latch gone(1), told(1);
    run_ranks(3, [&](std::unique_ptr<Star> star) {
        if (star->rank() == 1) {
            star.reset();
            gone.count_down();
            return;
        }
        if (star->rank() == 0) {
            gone.wait();
            Status seen;
            while (seen.ok()) seen = star->look();
            EXPECT_THAT(seen.error().message, HasSubstr("rank 1 ("));
            told.count_down();
            return;
        }
        told.wait();
        Status seen;
        while (seen.ok()) seen = star->look();
        EXPECT_THAT(seen.error().message, HasSubstr("rank 1 ("));
    });
}

TEST(Collective, Nobody_waits_for_ever) {
    std::latch given_up(1);
    run_ranks(
        2,
        [&](std::unique_ptr<Star> star) {
            if (star->rank() == 1) {
                given_up.wait();  // alive, and silent
                return;
            }
            const Status status = star->barrier();
            given_up.count_down();
            ASSERT_FALSE(status.ok());
            EXPECT_THAT(status.error().message, HasSubstr("rank 1 ("));
            EXPECT_THAT(status.error().message, HasSubstr("has not answered"));
        },
        0.3);
}

TEST(Collective, Vectors_of_different_sizes_are_refused) {
    run_ranks(2, [](std::unique_ptr<Star> star) {
        std::vector<float> vector(star->rank() == 0 ? 100 : 101);
        const Status status = star->broadcast(vector);
        if (star->rank() == 1) {
            ASSERT_FALSE(status.ok());
            EXPECT_THAT(status.error().message, HasSubstr("400 bytes of a vector where 404 were expected"));
        }
    });
}

TEST(Meeting, Strangers_are_sent_away) {
    auto listener = listen_on(0);
    ASSERT_TRUE(listener.ok());
    const std::uint16_t port = listener->port;
    const auto stranger = connect_to("localhost", port, monotonic_seconds() + 10);
    ASSERT_TRUE(stranger.ok());
    const std::string request = "GET / HTTP/1.1\r\n\r\n" + std::string(200, ' ');
    ByteView rest = as_byte_view(request);
    EXPECT_EQ(send_some(*stranger, rest), Io::done);
    std::thread other([port] { EXPECT_TRUE(Star::meet({1, 2, "localhost", port, 10}).ok()); });
    EXPECT_TRUE(Star::meet({0, 2, "localhost", port, 10}, std::move(*listener)).ok());
    other.join();
}

TEST(Meeting, A_rank_that_comes_twice_or_to_another_meeting_is_refused_everywhere) {
    struct Case {
        int rank, size;
        const char* message;
    };
    for (const Case& wrong :
         {Case{1, 3, "comes as rank 1 of 3 to a meeting of 3 ranks where that rank is there already"},
          Case{2, 4, "comes as rank 2 of 4 to a meeting of 3 ranks"}}) {
        auto listener = listen_on(0);
        ASSERT_TRUE(listener.ok());
        const std::uint16_t port = listener->port;
        const auto come = [port](int rank, int size) {
            const auto star = Star::meet({rank, size, "localhost", port, 10});
            return star.ok() ? std::string() : star.error().message;
        };
        std::string told;
        std::thread first([&] { EXPECT_NE(come(1, 3), ""); });  // or it comes when all is over
        std::thread second([&] { told = come(wrong.rank, wrong.size); });
        const auto star = Star::meet({0, 3, "localhost", port, 10}, std::move(*listener));
        first.join();
        second.join();
        EXPECT_NE(told, "");
        if (wrong.size != 3) {
            EXPECT_THAT(told, HasSubstr(wrong.message));
        }
        ASSERT_FALSE(star.ok());
        EXPECT_EQ(star.error().code, ErrorCode::refused);
        EXPECT_THAT(star.error().message, HasSubstr(wrong.message));
    }
}

TEST(Meeting, Those_that_do_not_come_are_named) {
    auto listener = listen_on(0);
    ASSERT_TRUE(listener.ok());
    const auto star = Star::meet({0, 3, "localhost", listener->port, 0.2}, std::move(*listener));
    ASSERT_FALSE(star.ok());
    EXPECT_EQ(star.error().code, ErrorCode::unavailable);
    EXPECT_THAT(star.error().message, HasSubstr("rank 1 2 of 3 did not come"));
}

TEST(Meeting, A_rank_0_that_is_not_there_is_said_to_be) {
    std::uint16_t port = 0;
    {
        const auto listener = listen_on(0);
        ASSERT_TRUE(listener.ok());
        port = listener->port;
    }
    const auto star = Star::meet({1, 2, "localhost", port, 0.2});
    ASSERT_FALSE(star.ok());
    EXPECT_EQ(star.error().code, ErrorCode::unavailable);
    EXPECT_THAT(star.error().message,
                HasSubstr("rank 0 is not to be met at localhost:" + std::to_string(port)));
}

}  // namespace
}  // namespace Atoll::kernels
