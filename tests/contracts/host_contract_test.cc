#include "tests/contracts/host_contract.h"

#include <fmt/core.h>

#include <atomic>

#include "base/rng.h"

namespace Atoll::contracts {

void Findings::expect(bool holds, std::string_view what) {
    if (holds) return;
    const std::lock_guard lock(mutex_);
    text_ += fmt::format("{}{}", text_.empty() ? "" : "; ", what);
}

std::string Findings::text() const {
    const std::lock_guard lock(mutex_);
    return text_;
}

namespace {

using gossip::Host;
using gossip::Message;
using gossip::PeerId;
using gossip::Topic;

// Generous: it only matters where something is broken.
constexpr double kPatience = 60;

// Until the peer is connected a host may say "unavailable".
Status send_when_connected(Host& host, const PeerId& to, const gossip::Body& body,
                           const SharedBytes& payload = {}) {
    const double deadline = host.now() + kPatience;
    for (;;) {
        Status status = host.send(to, body, payload);
        if (status.ok() || status.error().code != ErrorCode::unavailable || host.now() > deadline)
            return status;
        host.sleep(0.01);
    }
}

gossip::StateRequest request(std::uint64_t round, std::uint32_t index = 0) {
    return {.manifest = false, .round = round, .index = index};
}

SharedBytes pattern(std::size_t size) {
    Bytes bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(mix64(i) & 0xffU);
    return SharedBytes(std::move(bytes));
}

bool equal(const SharedBytes& a, const SharedBytes& b) { return std::ranges::equal(a.view(), b.view()); }

void messages_arrive_with_proven_sender(HostFixture& fixture, Findings& findings) {
    fixture.run(
        {[&](Host& host) {
             findings.expect(host.self() == fixture.id(0), "self() is the host's own id");
             findings.expect(send_when_connected(host, fixture.id(1), request(7, 3)).ok(), "send() succeeds");
         },
         [&](Host& host) {
             const auto message = host.receive(Topic::state, host.now() + kPatience);
             findings.expect(message.has_value(), "the message arrives");
             if (!message) return;
             findings.expect(message->sender == fixture.id(0), "the sender is host 0");
             const auto* body = std::get_if<gossip::StateRequest>(&message->body);
             findings.expect(body != nullptr && !body->manifest && body->round == 7 && body->index == 3,
                             "the body is the one sent");
             findings.expect(message->payload.empty(), "there is no payload");
         }});
}

void messages_of_a_peer_arrive_in_order(HostFixture& fixture, Findings& findings) {
    constexpr std::uint32_t kCount = 200;
    const auto sender = [&](Host& host) {
        for (std::uint32_t i = 0; i < kCount; ++i) {
            findings.expect(send_when_connected(host, fixture.id(2), request(1, i)).ok(), "send() succeeds");
        }
    };
    fixture.run({sender, sender, [&](Host& host) {
                     std::uint32_t next[2] = {0, 0};
                     for (std::uint32_t i = 0; i < 2 * kCount; ++i) {
                         const auto message = host.receive(Topic::state, host.now() + kPatience);
                         findings.expect(message.has_value(), "every message arrives");
                         if (!message) return;
                         std::uint32_t& expected = next[message->sender == fixture.id(0) ? 0 : 1];
                         findings.expect(std::get<gossip::StateRequest>(message->body).index == expected++,
                                         "in the order of sending");
                     }
                 }});
}

void payloads_of_every_size_arrive_unchanged(HostFixture& fixture, Findings& findings) {
    constexpr std::size_t kChunk = std::size_t{1} << 20U;
    static constexpr std::size_t kSizes[] = {1,      63,         kChunk / 8 + 1, kChunk - 1,
                                             kChunk, kChunk + 1, 3 * kChunk,     7 * kChunk + 12345};
    fixture.run({[&](Host& host) {
                     for (const std::size_t size : kSizes) {
                         findings.expect(send_when_connected(host, fixture.id(1),
                                                             gossip::StateChunk{.round = size}, pattern(size))
                                             .ok(),
                                         "send() succeeds");
                     }
                 },
                 [&](Host& host) {
                     for (const std::size_t size : kSizes) {
                         const auto message = host.receive(Topic::transfer, host.now() + kPatience);
                         findings.expect(message.has_value(),
                                         fmt::format("the payload of {} bytes arrives", size));
                         if (!message) return;
                         findings.expect(std::get<gossip::StateChunk>(message->body).round == size,
                                         "payloads arrive in order");
                         findings.expect(equal(message->payload, pattern(size)),
                                         fmt::format("the payload of {} bytes is unchanged", size));
                     }
                 }});
}

void large_payloads_cross_without_deadlock(HostFixture& fixture, Findings& findings) {
    constexpr int kCount = 6;
    constexpr std::size_t kSize = (std::size_t{5} << 20U) + 17;
    const auto exchange = [&](std::size_t self) {
        return [&, self](Host& host) {
            const SharedBytes payload = pattern(kSize);
            for (std::size_t peer = 0; peer < 3; ++peer) {
                for (int i = 0; i < kCount && peer != self; ++i) {
                    findings.expect(
                        send_when_connected(host, fixture.id(peer), gossip::StateChunk{.round = 1}, payload)
                            .ok(),
                        "send() succeeds");
                }
            }
            for (int i = 0; i < 2 * kCount; ++i) {
                const auto message = host.receive(Topic::transfer, host.now() + kPatience);
                findings.expect(message && equal(message->payload, payload),
                                "every payload arrives unchanged");
                if (!message) return;
            }
        };
    };
    fixture.run({exchange(0), exchange(1), exchange(2)});
}

void receive_gives_up_at_its_deadline(HostFixture& fixture, Findings& findings) {
    fixture.run({[&](Host& host) {
                     const double start = host.now();
                     findings.expect(!host.receive(Topic::mixing, start + 0.05), "nothing came");
                     findings.expect(host.now() >= start + 0.05, "it waited until the deadline");
                     findings.expect(!host.receive(Topic::mixing, host.now() - 1),
                                     "a deadline in the past returns nothing");
                     const double before = host.now();
                     host.sleep(0.02);
                     findings.expect(host.now() >= before + 0.02, "sleep() takes its time");
                 },
                 [](Host&) {}});
}

void messages_to_self_come_back(HostFixture& fixture, Findings& findings) {
    fixture.run(
        {[&](Host& host) {
             gossip::View view{.epoch = 4, .members = {host.self()}, .reason = "test"};
             findings.expect(host.send(host.self(), gossip::ViewChanged{view}).ok(),
                             "a node-local message to oneself");
             findings.expect(host.send(host.self(), gossip::StatePublished{.round = 9}, pattern(1000)).ok(),
                             "one with a payload");
             const auto message = host.receive(Topic::mixing, host.now() + kPatience);
             findings.expect(message && message->sender == host.self(), "it arrives, from oneself");
             const auto* change = message ? std::get_if<gossip::ViewChanged>(&message->body) : nullptr;
             findings.expect(change != nullptr && change->view.epoch == 4, "unchanged");
             const auto published = host.receive(Topic::state, host.now() + kPatience);
             findings.expect(published && equal(published->payload, pattern(1000)), "the payload too");
         },
         [](Host&) {}});
}

void strangers_are_refused(HostFixture& fixture, Findings& findings) {
    fixture.run(
        {[&](Host& host) {
             PeerId stranger;
             stranger.key.fill(std::byte{0x5a});
             const Status status = host.send(stranger, request(1));
             findings.expect(!status.ok() && status.error().code == ErrorCode::refused,
                             "send() to a stranger is refused");
             findings.expect(send_when_connected(host, fixture.id(1), request(1)).ok(),
                             "send() to a peer succeeds");
             findings.expect(host.receive(Topic::state, host.now() + kPatience).has_value(), "it answers");
             host.disconnect(fixture.id(1));
             const Status after = host.send(fixture.id(1), request(1));
             findings.expect(!after.ok() && after.error().code == ErrorCode::refused,
                             "after disconnect() the peer is a stranger");
         },
         [&](Host& host) {
             findings.expect(host.receive(Topic::state, host.now() + kPatience).has_value(),
                             "what was sent before arrives");
             findings.expect(send_when_connected(host, fixture.id(0), request(2)).ok(), "send() succeeds");
         }});
}

void topics_are_separate(HostFixture& fixture, Findings& findings) {
    fixture.run(
        {[&](Host& host) {
             findings.expect(send_when_connected(host, fixture.id(1), gossip::Leave{"bye"}).ok(),
                             "send() succeeds");
             findings.expect(
                 send_when_connected(host, fixture.id(1), gossip::MixReceipt{.sequence = 5, .reason = "fine"})
                     .ok(),
                 "send() succeeds");
             findings.expect(send_when_connected(host, fixture.id(1), request(6)).ok(), "send() succeeds");
         },
         [&](Host& host) {
             const double deadline = host.now() + kPatience;
             const auto state = host.receive(Topic::state, deadline);
             const auto mixing = host.receive(Topic::mixing, deadline);
             const auto membership = host.receive(Topic::membership, deadline);
             findings.expect(state && std::holds_alternative<gossip::StateRequest>(state->body), "state");
             findings.expect(mixing && std::holds_alternative<gossip::MixReceipt>(mixing->body), "mixing");
             findings.expect(membership && std::holds_alternative<gossip::Leave>(membership->body),
                             "membership");
             findings.expect(!host.receive(Topic::transfer, host.now() + 0.02),
                             "nothing on a topic nobody wrote to");
         }});
}

void stopping_wakes_whoever_waits(HostFixture& fixture, Findings& findings) {
    fixture.run({[&](Host& host) {
                     const auto sleeper = host.spawn("sleeper", [&host] { host.sleep(1e6); });
                     findings.expect(!host.stopping(), "not stopping before");
                     findings.expect(!host.receive(Topic::mixing, host.now() + 1e6),
                                     "receive() returns nothing once stopping");
                     findings.expect(host.stopping(), "stopping() is true then");
                     findings.expect(!host.receive(Topic::mixing, host.now() + 1e6), "and again at once");
                 },
                 [&](Host& host) {
                     host.sleep(0.05);
                     fixture.stop(0);
                 }});
}

void activities_run_beside_and_are_joined(HostFixture& fixture, Findings& findings) {
    fixture.run({[&](Host& host) {
                     std::atomic<bool> done = false;
                     {
                         const auto activity = host.spawn("echo", [&] {
                             const auto message = host.receive(Topic::state, host.now() + kPatience);
                             findings.expect(message.has_value(), "the activity receives on its own topic");
                             host.sleep(0.02);
                             done = true;
                         });
                         findings.expect(host.send(host.self(), gossip::StatePublished{.round = 1}, {}).ok(),
                                         "send() succeeds");
                     }
                     findings.expect(done, "the destructor of the activity waits for it");
                 },
                 [](Host&) {}});
}

void traffic_is_counted(HostFixture& fixture, Findings& findings) {
    constexpr std::size_t kSize = std::size_t{2} << 20U;
    fixture.run(
        {[&](Host& host) {
             findings.expect(
                 send_when_connected(host, fixture.id(1), gossip::StateChunk{.round = 1}, pattern(kSize))
                     .ok(),
                 "send() succeeds");
             findings.expect(host.receive(Topic::state, host.now() + kPatience).has_value(),
                             "the answer arrives");
             findings.expect(host.traffic().bytes_sent >= kSize, "the payload is counted as sent");
             findings.expect(host.traffic().bytes_sent < kSize + (std::size_t{1} << 18U), "and only once");
         },
         [&](Host& host) {
             findings.expect(host.receive(Topic::transfer, host.now() + kPatience).has_value(),
                             "the payload arrives");
             findings.expect(host.traffic().bytes_received >= kSize, "the payload is counted as received");
             findings.expect(send_when_connected(host, fixture.id(0), request(1)).ok(), "send() succeeds");
             findings.expect(host.traffic().messages_lost == 0, "nothing was lost");
         }});
}

constexpr HostCase kCases[] = {
    {"MessagesArriveWithProvenSender", 2, messages_arrive_with_proven_sender},
    {"MessagesOfAPeerArriveInOrder", 3, messages_of_a_peer_arrive_in_order},
    {"PayloadsOfEverySizeArriveUnchanged", 2, payloads_of_every_size_arrive_unchanged},
    {"LargePayloadsCrossWithoutDeadlock", 3, large_payloads_cross_without_deadlock},
    {"ReceiveGivesUpAtItsDeadline", 2, receive_gives_up_at_its_deadline},
    {"MessagesToSelfComeBack", 2, messages_to_self_come_back},
    {"StrangersAreRefused", 2, strangers_are_refused},
    {"TopicsAreSeparate", 2, topics_are_separate},
    {"StoppingWakesWhoeverWaits", 2, stopping_wakes_whoever_waits},
    {"ActivitiesRunBesideAndAreJoined", 2, activities_run_beside_and_are_joined},
    {"TrafficIsCounted", 2, traffic_is_counted},
    {"AveragesAreTheSameBitsOnEveryHost", kAveragingHosts, averages_are_the_same_bits_on_every_host},
};

}  // namespace

std::span<const HostCase> host_contract() { return kCases; }

std::string run_host_case(const HostCase& the_case, const MakeFixture& make) {
    Findings findings;
    const auto fixture = make(the_case.hosts);
    the_case.check(*fixture, findings);
    return findings.text();
}

std::vector<HostContractParameter> host_cases(const std::function<std::string(const HostCase&)>& run) {
    std::vector<HostContractParameter> parameters;
    for (const HostCase& the_case : host_contract()) parameters.push_back({the_case, run});
    return parameters;
}

std::vector<HostContractParameter> host_cases(const MakeFixture& make) {
    return host_cases([make](const HostCase& the_case) { return run_host_case(the_case, make); });
}

std::string host_case_name(const testing::TestParamInfo<HostContractParameter>& info) {
    return std::string(info.param.the_case.name);
}

TEST_P(HostContract, holds) { EXPECT_EQ(GetParam().run(GetParam().the_case), ""); }

}  // namespace Atoll::contracts
