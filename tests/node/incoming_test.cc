#include "node/network/incoming.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace Atoll::node {
namespace {

constexpr std::size_t kPayload = 2 * kChunkBytes + 5;

struct IncomingTest : testing::Test {
    BufferPool pool{std::size_t{64} << 20U};
    Incoming incoming{kPayload, pool};
    Bytes data = Bytes(kChunkBytes, std::byte{7});
    std::string problem;

    std::shared_ptr<Arrival> chunk(const Incoming::Source& from, std::uint32_t transfer, std::uint32_t index,
                                   double now = 0) {
        const FrameHead head{
            .kind = FrameKind::chunk, .transfer = transfer, .index = index, .total = kPayload};
        return incoming.chunk(from, head, ByteView(data).first(chunk_size(kPayload, index)), now, problem);
    }
    std::shared_ptr<Arrival> end(const Incoming::Source& from, std::uint32_t transfer) {
        return incoming.end(
            from, {.kind = FrameKind::end, .transfer = transfer, .index = 3, .total = kPayload}, problem);
    }
};

TEST_F(IncomingTest, Payloads_of_one_peer_on_two_connections_do_not_disturb_each_other) {
    const Incoming::Source dialled{{}, ""};
    const Incoming::Source dialling{{}, "route"};
    for (std::uint32_t index = 0; index < 3; ++index) {
        EXPECT_NE(chunk(dialled, 1, index), nullptr) << problem;
        EXPECT_NE(chunk(dialling, 2, index), nullptr) << problem;
    }
    EXPECT_NE(end(dialled, 1), nullptr) << problem;
    EXPECT_NE(end(dialling, 2), nullptr) << problem;
}

TEST_F(IncomingTest, A_chunk_out_of_order_gives_the_payload_up_and_says_so_once) {
    const Incoming::Source from{{}, ""};
    EXPECT_NE(chunk(from, 1, 0), nullptr);
    EXPECT_EQ(chunk(from, 1, 2), nullptr);
    EXPECT_THAT(problem, testing::HasSubstr("does not follow"));
    EXPECT_EQ(chunk(from, 1, 1), nullptr);
    EXPECT_EQ(problem, "");
    EXPECT_EQ(end(from, 1), nullptr);
}

TEST_F(IncomingTest, What_is_never_finished_is_forgotten) {
    EXPECT_NE(chunk({{}, "gone"}, 1, 0, 0.0), nullptr);
    EXPECT_NE(chunk({{}, "new"}, 1, 0, Incoming::kUnfinishedSeconds + 1), nullptr);
    EXPECT_EQ(chunk({{}, "gone"}, 1, 1, Incoming::kUnfinishedSeconds + 1), nullptr);
    EXPECT_NE(chunk({{}, "new"}, 1, 1, Incoming::kUnfinishedSeconds + 1), nullptr);
}

TEST_F(IncomingTest, A_peer_with_many_connections_begins_a_few_payloads_at_a_time) {
    for (int i = 0; i <= Incoming::kUnfinishedPerPeerMax; ++i) {
        EXPECT_NE(chunk({{}, std::to_string(i)}, 1, 0, i), nullptr) << problem;
    }
    EXPECT_EQ(chunk({{}, "0"}, 1, 1, 9), nullptr);
    EXPECT_NE(chunk({{}, "1"}, 1, 1, 9), nullptr);
}

}  // namespace
}  // namespace Atoll::node
