// The network host against a hostile world: real sockets, raw ZeroMQ clients with and without valid keys.
#include "node/host_network.h"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>
#include <zmq.hpp>

#include "base/check.h"
#include "gossip/averaging/averaging.h"
#include "gossip/codec/codec.h"
#include "gossip/invite.h"
#include "kernels/hash/tree_hash.h"
#include "node/network/sockets.h"

namespace Atoll::node {
namespace {

constexpr double kPatience = 60;  // only matters where something is broken

const Hash kRun = blake2b(as_byte_view("the run"));

gossip::Identity identity(int n) { return gossip::Identity::from_seed(Bytes(32, static_cast<std::byte>(n))); }

std::unique_ptr<HostNetwork> start(const gossip::Identity& who, TransportOptions transport = {}) {
    auto host = HostNetwork::start(who, {.run = kRun, .transport = std::move(transport)});
    ATOLL_CHECK(host.ok());
    return std::move(*host);
}

// Until `condition` holds; the host's own clock, so a broken test ends.
template <typename Condition>
bool eventually(gossip::Host& host, const Condition& condition) {
    const double deadline = host.now() + kPatience;
    while (!condition()) {
        if (host.now() > deadline) return false;
        host.sleep(0.005);
    }
    return true;
}

// A client that speaks ZeroMQ and CURVE but not our manners.
class RawClient {
  public:
    RawClient(const gossip::Identity& who, const gossip::PeerId& server, const std::string& address)
        : socket_(context_, zmq::socket_type::dealer) {
        socket_.set(zmq::sockopt::linger, 0);
        set_curve_client(socket_, who, gossip::curve_public_key(server).value());
        socket_.connect(address);
    }
    void send(const std::vector<Bytes>& parts) {
        for (std::size_t i = 0; i < parts.size(); ++i) {
            const auto flags = i + 1 < parts.size() ? zmq::send_flags::sndmore : zmq::send_flags::none;
            ATOLL_CHECK(socket_.send(zmq::buffer(parts[i]), flags).has_value());
        }
    }
    static Bytes head(const FrameHead& head) {
        Bytes bytes(kFrameHeadBytes);
        write_frame_head(head, bytes.data());
        return bytes;
    }

  private:
    zmq::context_t context_;
    zmq::socket_t socket_;
};

// A host, and a member of the run whose frames are ours to make up.
class Hostile : public testing::Test {
  protected:
    Hostile() {
        host_->connect(member_.id(), "");
        client_.emplace(member_, host_->self(), host_->bound_address());
    }
    Bytes envelope(std::uint64_t sequence, const gossip::Body& body, const gossip::PayloadNote& note = {},
                   const Hash& run = kRun) {
        return gossip::encode_message(member_, run, sequence, body, note).value();
    }
    void send_message(const Bytes& bytes) {
        client_->send({RawClient::head({.kind = FrameKind::message}), bytes});
    }
    // A good message still gets through, and nothing arrived before it.
    void expect_only_a_good_message_arrives() {
        send_message(envelope(1'000'000, gossip::StateRequest{.manifest = true, .round = 77}));
        const auto message = host_->receive(gossip::Topic::state, host_->now() + kPatience);
        ASSERT_TRUE(message.has_value());
        EXPECT_EQ(std::get<gossip::StateRequest>(message->body).round, 77U);
        EXPECT_FALSE(host_->receive(gossip::Topic::transfer, host_->now()).has_value());
    }

    gossip::Identity self_ = identity(1);
    gossip::Identity member_ = identity(2);
    std::unique_ptr<HostNetwork> host_ =
        start(self_, {.payload_bytes_max = 8U << 20U, .inbound_bytes_max = 32U << 20U});
    std::optional<RawClient> client_;
};

TEST(HostNetworkStart, a_port_in_use_is_a_clear_error) {
    const auto a = identity(1);
    const auto host = start(a);
    const auto again = HostNetwork::start(a, {.run = kRun, .transport = {.listen = host->bound_address()}});
    ASSERT_FALSE(again.ok());
    EXPECT_EQ(again.error().code, ErrorCode::failed);
    EXPECT_NE(again.error().message.find("in use"), std::string::npos) << again.error().message;
}

TEST(HostNetworkStart, a_bad_address_is_a_usage_error) {
    const auto a = identity(1);
    for (const char* listen :
         {"nowhere", "tcp://", "tcp://127.0.0.1:99999", "tcp://192.0.2.77:4000", "bad host:1"}) {
        const auto host = HostNetwork::start(a, {.run = kRun, .transport = {.listen = listen}});
        ASSERT_FALSE(host.ok()) << listen;
        EXPECT_EQ(host.error().code, ErrorCode::invalid) << listen;
    }
}

TEST(HostNetworkGate, a_stranger_is_refused_at_the_handshake) {
    const auto a = identity(1);
    const auto stranger = identity(9);
    const auto host = start(a);
    RawClient client(stranger, a.id(), host->bound_address());
    client.send({RawClient::head({.kind = FrameKind::hello}), Bytes(1)});
    EXPECT_TRUE(eventually(*host, [&] { return host->gate().refused() > 0; }));
    EXPECT_EQ(host->traffic().bytes_received, 0U);  // not a byte of its frames was looked at
}

TEST(HostNetworkGate, a_disconnected_member_is_a_stranger) {
    const auto a = identity(1);
    const auto b = identity(2);
    const auto first = start(a);
    const auto second = start(b);
    first->connect(b.id(), second->bound_address());
    second->connect(a.id(), first->bound_address());
    EXPECT_TRUE(eventually(*first, [&] { return first->send(b.id(), gossip::Leave{"x"}, {}).ok(); }));
    EXPECT_TRUE(second->receive(gossip::Topic::membership, second->now() + kPatience).has_value());
    second->disconnect(a.id());
    const auto before = second->traffic().messages_lost;
    (void)first->send(b.id(), gossip::Leave{"y"}, {});
    EXPECT_FALSE(second->receive(gossip::Topic::membership, second->now() + 0.2).has_value());
    EXPECT_EQ(second->traffic().messages_lost, before);
}

TEST(HostNetworkGate, whoever_was_refused_is_let_in_once_it_is_known) {
    const auto a = identity(1);
    const auto b = identity(2);
    const auto early = start(a);
    const auto late = start(b);
    early->connect(b.id(), late->bound_address());
    EXPECT_TRUE(eventually(*late, [&] { return late->gate().refused() > 0; }));  // b has not heard of a yet
    late->connect(a.id(), "");
    EXPECT_TRUE(eventually(*early, [&] { return early->send(b.id(), gossip::Leave{"x"}, {}).ok(); }));
    EXPECT_TRUE(late->receive(gossip::Topic::membership, late->now() + kPatience).has_value());
}

TEST_F(Hostile, frames_that_are_none_are_dropped_and_counted) {
    client_->send({Bytes(3)});
    client_->send({Bytes(kFrameHeadBytes), Bytes(5)});
    client_->send({RawClient::head({.kind = FrameKind::message}), Bytes(4), Bytes(4)});
    client_->send({RawClient::head({.kind = static_cast<FrameKind>(99)}), Bytes(5)});
    client_->send({RawClient::head({.kind = FrameKind::message}), Bytes()});
    client_->send({RawClient::head({.kind = FrameKind::message}), Bytes(gossip::kFrameBytesMax + 1)});
    expect_only_a_good_message_arrives();
    EXPECT_EQ(host_->traffic().messages_lost, 6U);
}

TEST_F(Hostile, truncated_altered_and_foreign_envelopes_are_refused_by_reason) {
    const Bytes good = envelope(1, gossip::StateRequest{.round = 5});
    send_message(Bytes(good.begin(), good.begin() + 40));
    Bytes altered = good;
    altered.back() ^= std::byte{1};
    send_message(altered);
    send_message(envelope(2, gossip::StateRequest{.round = 5}, {}, blake2b(as_byte_view("another run"))));
    send_message(gossip::encode_message(identity(3), kRun, 3, gossip::StateRequest{.round = 5}).value());
    expect_only_a_good_message_arrives();
    const auto refusals = host_->refusals();
    EXPECT_EQ(refusals.size(), 4U);
    EXPECT_EQ(host_->traffic().messages_lost, 4U);
}

TEST_F(Hostile, a_replayed_message_is_delivered_once) {
    const Bytes once = envelope(5, gossip::StateRequest{.round = 5});
    send_message(once);
    send_message(once);
    const auto message = host_->receive(gossip::Topic::state, host_->now() + kPatience);
    ASSERT_TRUE(message.has_value());
    expect_only_a_good_message_arrives();
    EXPECT_EQ(host_->refusals().at(std::string(gossip::refusal_name(gossip::Refusal::replayed))), 1U);
}

TEST_F(Hostile, a_payload_other_than_the_signed_one_is_refused) {
    const Bytes payload(1000, std::byte{1});
    const Bytes other(1000, std::byte{2});
    const auto chunk = [&](const Bytes& bytes, std::uint32_t transfer) {
        client_->send(
            {RawClient::head({.kind = FrameKind::chunk, .transfer = transfer, .total = bytes.size()}),
             bytes});
    };
    const auto end = [&](const Bytes& sealed, std::uint32_t transfer) {
        client_->send(
            {RawClient::head({.kind = FrameKind::end, .transfer = transfer, .index = 1, .total = 1000}),
             sealed});
    };
    const gossip::StateChunk body{.round = 1};
    chunk(other, 0);
    end(envelope(1, body, {.bytes = 1000, .hash = kernels::tree_hash(payload)}), 0);
    chunk(payload, 1);
    end(envelope(2, body, {.bytes = 1000, .hash = std::nullopt}), 1);
    chunk(payload, 2);
    end(envelope(3, body, {.bytes = 999, .hash = kernels::tree_hash(payload)}), 2);
    chunk(payload, 3);
    end(envelope(4, body, {.bytes = 1000, .hash = kernels::tree_hash(payload)}), 3);
    const auto message = host_->receive(gossip::Topic::transfer, host_->now() + kPatience);
    ASSERT_TRUE(message.has_value());
    EXPECT_TRUE(std::ranges::equal(message->payload.view(), ByteView(payload)));
    EXPECT_EQ(host_->traffic().messages_lost, 3U);
}

TEST_F(Hostile, chunks_out_of_order_or_beyond_the_limit_are_dropped) {
    const auto chunk = [&](std::uint32_t index, std::uint64_t total, std::size_t size) {
        client_->send(
            {RawClient::head({.kind = FrameKind::chunk, .index = index, .total = total}), Bytes(size)});
    };
    chunk(0, (8U << 20U) + 1, kChunkBytes);  // one byte over the limit
    chunk(0, ~std::uint64_t{0}, kChunkBytes);
    chunk(0, 0, 0);
    chunk(0, 3 * kChunkBytes, kChunkBytes);
    chunk(2, 3 * kChunkBytes, kChunkBytes);  // index 1 is missing
    chunk(0, 2 * kChunkBytes, 17);           // too short for its place
    chunk(0, 2 * kChunkBytes, kChunkBytes);
    client_->send({RawClient::head({.kind = FrameKind::end, .index = 1, .total = 2 * kChunkBytes}),
                   envelope(1, gossip::StateChunk{.round = 1},
                            {.bytes = 2 * kChunkBytes, .hash = Hash{}})});  // too early
    expect_only_a_good_message_arrives();
    EXPECT_EQ(host_->traffic().messages_lost, 6U);
}

TEST_F(Hostile, memory_for_payloads_is_bounded) {
    // Nobody reads the mailbox: three payloads of 8 MiB fit into 32 MiB together with the one arriving, no
    // more.
    for (std::uint32_t transfer = 0; transfer < 6; ++transfer) {
        const std::uint64_t total = 8U << 20U;
        for (std::uint32_t i = 0; i < 8; ++i) {
            client_->send({RawClient::head(
                               {.kind = FrameKind::chunk, .transfer = transfer, .index = i, .total = total}),
                           Bytes(kChunkBytes)});
        }
        client_->send(
            {RawClient::head({.kind = FrameKind::end, .transfer = transfer, .index = 8, .total = total}),
             envelope(transfer + 1, gossip::StateChunk{.round = transfer},
                      {.bytes = total, .hash = kernels::tree_hash(Bytes(total))})});
    }
    EXPECT_TRUE(eventually(*host_, [&] { return host_->traffic().messages_lost == 2; }));
    for (std::uint64_t round = 0; round < 4; ++round) {
        const auto message = host_->receive(gossip::Topic::transfer, host_->now() + kPatience);
        ASSERT_TRUE(message.has_value());
        EXPECT_EQ(std::get<gossip::StateChunk>(message->body).round, round);
    }
    EXPECT_FALSE(host_->receive(gossip::Topic::transfer, host_->now() + 0.05).has_value());
}

TEST_F(Hostile, a_frame_over_the_limit_closes_the_connection) {
    client_->send(
        {RawClient::head({.kind = FrameKind::chunk, .total = 8U << 20U}), Bytes(kChunkBytes + 64 * 1024)});
    RawClient again(member_, host_->self(), host_->bound_address());
    again.send(
        {RawClient::head({.kind = FrameKind::message}), envelope(9, gossip::StateRequest{.round = 1})});
    EXPECT_TRUE(host_->receive(gossip::Topic::state, host_->now() + kPatience).has_value());
    EXPECT_LT(host_->traffic().bytes_received, kChunkBytes);
}

TEST(HostNetworkDoor, the_holder_of_an_invite_may_ask_to_join_and_nothing_else) {
    const auto owner = identity(1);
    const auto guest = identity(2);
    const auto host = start(owner);
    const auto now = static_cast<std::uint64_t>(host->unix_time());
    const gossip::Invite invite =
        gossip::issue_invite(owner, {.run = kRun,
                                     .join_before = now + 1000,
                                     .member_until = now + 2000,
                                     .contacts = {{owner.id(), host->bound_address()}}})
            .value();
    const auto token = gossip::curve_public_key(invite.grant.token).value();
    host->gate().ask_else([&](const CurveKey& key) {
        return key == token ? std::optional<std::string>("invite:x") : std::nullopt;
    });

    const auto visitor = start(guest, {.dial_as = &invite.token});
    visitor->connect(owner.id(), host->bound_address());
    EXPECT_TRUE(eventually(
        *visitor, [&] { return visitor->send(owner.id(), gossip::Leave{"not a request"}, {}).ok(); }));
    EXPECT_TRUE(visitor->send(owner.id(), gossip::JoinRequest{Bytes(100, std::byte{7})}, {}).ok());
    const auto request = host->receive(gossip::Topic::membership, host->now() + kPatience);
    ASSERT_TRUE(request.has_value());
    EXPECT_EQ(request->sender, guest.id());
    ASSERT_TRUE(std::holds_alternative<gossip::JoinRequest>(request->body));
    EXPECT_EQ(host->traffic().messages_lost, 1U);

    EXPECT_TRUE(host->send(guest.id(), gossip::JoinReply{.accepted = false, .reason = "used up"}, {}).ok());
    const auto reply = visitor->receive(gossip::Topic::join, visitor->now() + kPatience);
    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(std::get<gossip::JoinReply>(reply->body).reason, "used up");
}

TEST(HostNetworkAveraging, two_nodes_reach_the_mean_by_push_sum) {
    const auto a = identity(1);
    const auto b = identity(2);
    std::unique_ptr<HostNetwork> hosts[] = {start(a), start(b)};
    const gossip::PeerId ids[] = {a.id(), b.id()};
    hosts[0]->connect(ids[1], hosts[1]->bound_address());
    hosts[1]->connect(ids[0], hosts[0]->bound_address());
    for (const int i : {0, 1}) {
        ASSERT_TRUE(eventually(*hosts[i], [&] { return hosts[i]->connected(ids[1 - i]); }));
    }
    gossip::View view{.epoch = 1, .members = {ids[0], ids[1]}, .reason = "test"};
    std::sort(view.members.begin(), view.members.end());
    constexpr std::size_t kSize = 600'000;  // more than two chunks
    std::vector<std::vector<float>> values(2, std::vector<float>(kSize));
    for (std::size_t i = 0; i < kSize; ++i) {
        values[0][i] = std::sin(static_cast<float>(i));
        values[1][i] = std::cos(static_cast<float>(i));
    }
    std::vector<float> mean(kSize);
    for (std::size_t i = 0; i < kSize; ++i) mean[i] = 0.5F * (values[0][i] + values[1][i]);
    const auto codec = gossip::make_codec("none", {}).value();
    const auto topology = gossip::make_topology("one_peer_exponential", {}).value();
    {
        std::vector<std::unique_ptr<gossip::Activity>> activities;
        for (const std::size_t i : {std::size_t{0}, std::size_t{1}}) {
            activities.push_back(hosts[i]->spawn("member", [&, i] {
                gossip::Inbox inbox(*hosts[i]);
                ASSERT_TRUE(hosts[i]->send(ids[i], gossip::ViewChanged{view}, {}).ok());
                ASSERT_TRUE(inbox.wait_for_members(2, hosts[i]->now() + kPatience));
                const auto averaging =
                    gossip::make_averaging("push_sum",
                                           {*hosts[i], inbox, *topology, {.deadline_seconds = kPatience}})
                        .value();
                gossip::AveragePart part{.values = values[i], .codec = codec.get()};
                const auto report = averaging->average(1, std::span(&part, 1));
                ASSERT_TRUE(report.ok());
                EXPECT_TRUE(report->complete);
            }));
        }
    }
    for (std::size_t i = 0; i < kSize; ++i) {
        ASSERT_NEAR(values[0][i], mean[i], 1e-6F);
        ASSERT_NEAR(values[1][i], mean[i], 1e-6F);
    }
}

}  // namespace
}  // namespace Atoll::node
