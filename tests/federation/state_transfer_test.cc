// Donors that lie, die, refuse or are slow, and a fetcher that gets the state all the same or says why not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/hash.h"
#include "federation/state_fetch.h"
#include "federation/state_server.h"
#include "tests/fakes/memory_host.h"

namespace Atoll::federation {
namespace {

using fakes::MemoryNetwork;
using ::testing::HasSubstr;

constexpr std::size_t kStateBytes = 5 * kStateChunkBytes + 1000;

Bytes pattern(std::uint64_t seed, std::size_t bytes = kStateBytes) {
    Bytes state(bytes);
    for (std::size_t i = 0; i < bytes; ++i)
        state[i] = static_cast<std::byte>(mix64(seed * 1000003 + i / 8) >> (i % 8 * 8));
    return state;
}

// Host 0 fetches; the others donate.
struct StateTransfer : ::testing::Test {
    std::unique_ptr<MemoryNetwork> network;
    std::optional<Result<std::optional<FetchedState>>> result;
    StateFetchOptions options{.bytes = kStateBytes, .seed = 5};
    double finished = 0;

    void build(std::size_t donors, double bytes_per_second = 50e6) {
        network = std::make_unique<MemoryNetwork>(
            MemoryNetwork::Options{.hosts = donors + 1, .bytes_per_second = bytes_per_second});
    }
    void publish(std::size_t host, std::uint64_t round, Bytes state) {
        ASSERT_TRUE(network->host(host)
                        .send(network->id(host), gossip::StatePublished{round}, SharedBytes(std::move(state)))
                        .ok());
    }
    void serve(std::size_t host, StateServerLimits limits = {}) {
        network->start(host, "state", [this, host, limits] { serve_state(network->host(host), limits); });
    }
    void fetch() {
        network->start(0, "fetch", [this] {
            std::vector<gossip::PeerId> donors;
            for (std::size_t i = 1; i < network->size(); ++i) donors.push_back(network->id(i));
            result = fetch_state(network->host(0), donors, options);
            finished = network->now();
            for (std::size_t i = 0; i < network->size(); ++i) network->stop(i);
        });
        ASSERT_TRUE(network->run());
    }
    void expect_state(std::uint64_t round, const Bytes& state) {
        ASSERT_TRUE(result->ok()) << result->error().message;
        ASSERT_TRUE((**result).has_value());
        EXPECT_EQ((**result)->round, round);
        EXPECT_TRUE((**result)->bytes == state);
    }
    std::string error() { return result->ok() ? "" : result->error().message; }
};

TEST_F(StateTransfer, Newest_state_arrives_whole) {
    build(3);
    publish(1, 4, pattern(4));
    publish(2, 7, pattern(7));
    publish(3, 6, pattern(6));
    for (std::size_t i = 1; i <= 3; ++i) serve(i);
    fetch();
    expect_state(7, pattern(7));
    EXPECT_EQ((**result)->donor, network->id(2));
}

TEST_F(StateTransfer, Nothing_newer_is_no_error) {
    build(2);
    publish(1, 4, pattern(4));
    serve(1);
    serve(2);  // has nothing yet
    options.newer_than = 4;
    fetch();
    ASSERT_TRUE(result->ok()) << error();
    EXPECT_FALSE((**result).has_value());
}

TEST_F(StateTransfer, Nobody_answers) {
    build(2);
    fetch();
    ASSERT_FALSE(result->ok());
    EXPECT_EQ(result->error().code, ErrorCode::not_found);
}

TEST_F(StateTransfer, Donor_that_dies_midway_is_replaced_by_one_with_the_same_state) {
    build(2, 10e6);  // a chunk takes a tenth of a second
    for (std::size_t i = 1; i <= 2; ++i) {
        publish(i, 9, pattern(9));
        serve(i);
    }
    std::size_t chunks[3] = {};
    network->set_hook([&](const MemoryNetwork::Departure& departure) -> MemoryNetwork::Fate {
        if (std::holds_alternative<gossip::StateChunk>(departure.body) && ++chunks[departure.from] == 3 &&
            chunks[1] + chunks[2] == 3) {
            network->at(departure.time, [&, from = departure.from] { network->kill(from); });
        }
        return {0.0};
    });
    fetch();
    expect_state(9, pattern(9));
    // What the first one delivered was not fetched again.
    EXPECT_LE(chunks[1] + chunks[2], 6U + options.window - 1);
    EXPECT_GE(std::min(chunks[1], chunks[2]), 3U);
}

TEST_F(StateTransfer, Corrupt_chunk_costs_the_donor_its_trust) {
    build(1);
    publish(1, 3, pattern(3));
    // A server of lies: the right manifest, one byte of one chunk altered.
    network->start(1, "liar", [&] {
        auto& host = network->host(1);
        const Bytes state = pattern(3);
        while (const auto message = host.receive(gossip::Topic::state, 1e6)) {
            const auto* request = std::get_if<gossip::StateRequest>(&message->body);
            if (request == nullptr) continue;
            const auto chunk = [&](std::size_t index) {
                const std::size_t offset = index * kStateChunkBytes;
                return ByteView(state).subspan(
                    offset, std::min<std::size_t>(kStateChunkBytes, state.size() - offset));
            };
            if (request->manifest) {
                Bytes hashes;
                for (std::size_t i = 0; i < 6; ++i) {
                    const Hash hash = blake2b(chunk(i));
                    hashes.insert(hashes.end(), hash.begin(), hash.end());
                }
                ASSERT_TRUE(
                    host.send(message->sender,
                              gossip::StateManifest{3, state.size(), kStateChunkBytes, blake2b(state)},
                              SharedBytes(hashes))
                        .ok());
            } else {
                Bytes bytes(chunk(request->index).begin(), chunk(request->index).end());
                if (request->index == 2) bytes[17] ^= std::byte{1};
                ASSERT_TRUE(
                    host.send(message->sender, gossip::StateChunk{3, request->index}, SharedBytes(bytes))
                        .ok());
            }
        }
    });
    fetch();
    ASSERT_FALSE(result->ok());
    EXPECT_EQ(result->error().code, ErrorCode::unavailable);
    EXPECT_THAT(error(), HasSubstr("chunk 2 is not what it announced"));
}

TEST_F(StateTransfer, Corrupt_donor_is_passed_over_for_an_honest_one) {
    build(2);
    publish(1, 8, pattern(8, kStateBytes - 4));  // newer, and of a size this run cannot have
    publish(2, 6, pattern(6));
    serve(1);
    serve(2);
    fetch();
    expect_state(6, pattern(6));
}

TEST_F(StateTransfer, Wrong_size_and_impossible_round_are_refused_before_anything_is_allocated) {
    build(1);
    publish(1, 8, pattern(8, 4096));
    serve(1);
    fetch();
    ASSERT_FALSE(result->ok());
    EXPECT_THAT(error(), HasSubstr("4096 bytes; expected"));

    build(1);
    publish(1, 1000, pattern(8));
    serve(1);
    options.round_max = 100;
    fetch();
    ASSERT_FALSE(result->ok());
    EXPECT_THAT(error(), HasSubstr("claims round 1000; the run has 100"));
}

TEST_F(StateTransfer, Busy_donor_refuses_and_serves_again_when_free) {
    build(1);
    publish(1, 2, pattern(2));
    serve(1, {.downloads_max = 0});
    fetch();
    ASSERT_FALSE(result->ok());
    EXPECT_THAT(error(), HasSubstr("busy"));

    // Host 2 holds the only place for a while.
    build(2);
    publish(1, 2, pattern(2));
    serve(1, {.downloads_max = 1, .idle_seconds = 1});
    ASSERT_TRUE(network->host(2)
                    .send(network->id(1), gossip::StateRequest{.manifest = false, .round = 2, .index = 0})
                    .ok());
    fetch();
    expect_state(2, pattern(2));
    EXPECT_GT(finished, 1);
}

TEST_F(StateTransfer, State_replaced_during_the_download_is_kept_until_it_is_over) {
    build(1, 10e6);
    publish(1, 4, pattern(4));
    serve(1);
    network->at(0.3, [&] { publish(1, 5, pattern(5)); });
    fetch();
    expect_state(4, pattern(4));
}

TEST_F(StateTransfer, State_replaced_right_after_its_manifest_is_kept_for_who_asked) {
    build(1);
    publish(1, 4, pattern(4));
    serve(1);
    std::uint64_t round = 4;
    network->set_hook([&](const MemoryNetwork::Departure& departure) -> MemoryNetwork::Fate {
        const auto* request = std::get_if<gossip::StateRequest>(&departure.body);
        if (request != nullptr && !request->manifest && round == 4) {
            round = 5;
            publish(1, round, pattern(round));
        }
        return {0.0};
    });
    fetch();
    expect_state(4, pattern(4));
    EXPECT_EQ(round, 5U);
}

TEST_F(StateTransfer, A_lost_chunk_is_asked_for_again) {
    build(1);
    publish(1, 4, pattern(4));
    serve(1);
    int lost = 0;
    network->set_hook([&](const MemoryNetwork::Departure& departure) -> MemoryNetwork::Fate {
        const bool chunk = std::holds_alternative<gossip::StateChunk>(departure.body);
        if (chunk && lost < 1) {
            ++lost;
            return {};
        }
        return {0.0};
    });
    fetch();
    expect_state(4, pattern(4));
    EXPECT_GT(finished, options.answer_seconds);
    EXPECT_LT(finished, options.stall_seconds);  // from the same peer
}

TEST_F(StateTransfer, Only_the_node_itself_publishes) {
    build(2);
    publish(1, 4, pattern(4));
    ASSERT_TRUE(
        network->host(2).send(network->id(1), gossip::StatePublished{99}, SharedBytes(pattern(99))).ok());
    serve(1);
    fetch();
    expect_state(4, pattern(4));
}

}  // namespace
}  // namespace Atoll::federation
