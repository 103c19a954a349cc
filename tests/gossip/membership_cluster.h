// Memberships on a fake clock with a network that delays, loses and partitions: what the membership tests run
// on.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "gossip/membership.h"
#include "tests/gossip/trust_fixture.h"

namespace Atoll::gossip::testing {

class Cluster {
  public:
    static constexpr double kStep = 0.05;    // of the clock, seconds
    static constexpr double kLatency = 0.1;  // of every message
    using Filter = std::function<bool(std::size_t from, std::size_t to, const Body& body)>;

    struct Node {
        Identity identity;
        Certificate certificate;
        std::string name;
        std::uint64_t incarnation = 100;
        std::uint16_t port = 9000;
        std::unique_ptr<Membership> membership;  // null: down
        std::vector<Bytes> saved;                // the peer table on its disk
        std::map<PeerId, std::string> connected;
        std::vector<View> views;
        std::vector<std::string> notes;
        std::vector<JoinReply> replies;
    };

    TestRun run;
    MembershipOptions options{.run_config = "[run]\n"};
    double now = 0;
    std::deque<Node> nodes;  // memberships keep a reference to their identity
    Filter passes = [](std::size_t, std::size_t, const Body&) { return true; };

    // A node with a certificate, down.
    std::size_t add() {
        Identity identity = identity_named("node" + std::to_string(nodes.size()));
        const Certificate certificate = run.certificate(identity.id());
        std::string name = "n" + std::to_string(nodes.size());
        nodes.push_back({std::move(identity), certificate, std::move(name)});
        return nodes.size() - 1;
    }
    // `count` running nodes of which each knows the first.
    void start_all(std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) start(add());
        for (std::size_t i = 1; i < count; ++i) {
            carry_out(i, nodes[i].membership->learn(nodes[0].membership->records(), at()));
            carry_out(0, nodes[0].membership->learn({nodes[i].membership->records().front()}, at()));
        }
    }
    void start(std::size_t index) {
        Node& node = nodes[index];
        node.membership = std::make_unique<Membership>(
            node.identity, run.authority(), node.certificate, node.name,
            "tcp://192.0.2.1:" + std::to_string(node.port), node.incarnation, options);
        node.connected.clear();
        node.views.clear();
        carry_out(index, node.membership->learn(node.saved, at()));
    }
    void kill(std::size_t index) { nodes[index].membership.reset(); }
    void leave(std::size_t index) {
        carry_out(index, nodes[index].membership->leave("done"));
        kill(index);
    }
    void send(std::size_t from, std::size_t to, Body body) {
        in_flight_.push_back({now + kLatency, from, to, std::move(body)});
    }
    void run_for(double seconds) {
        for (const double end = now + seconds; now < end; now += kStep) {
            std::vector<Flight> due;
            std::erase_if(in_flight_, [&](Flight& flight) {
                if (flight.arrival > now) return false;
                due.push_back(std::move(flight));
                return true;
            });
            for (Flight& flight : due) {
                if (!passes(flight.from, flight.to, flight.body)) continue;
                if (const auto* reply = std::get_if<JoinReply>(&flight.body)) {
                    nodes[flight.to].replies.push_back(*reply);
                } else if (nodes[flight.to].membership) {
                    const Message message{nodes[flight.from].identity.id(), std::move(flight.body), {}};
                    carry_out(flight.to, nodes[flight.to].membership->handle(message, at()));
                }
            }
            for (std::size_t i = 0; i < nodes.size(); ++i) {
                if (!nodes[i].membership) continue;
                carry_out(i, nodes[i].membership->tick(at()));
                nodes[i].saved = nodes[i].membership->records();
            }
        }
    }

    [[nodiscard]] Instant at() const { return {now, kNow + now}; }
    // Which nodes `index` has in its view.
    [[nodiscard]] std::set<std::size_t> view_of(std::size_t index) const {
        std::set<std::size_t> members;
        for (const PeerId& peer : nodes[index].membership->view().members) members.insert(index_of(peer));
        return members;
    }
    [[nodiscard]] std::string state(std::size_t observer, std::size_t index) const {
        for (const MemberStatus& row : nodes[observer].membership->members(now)) {
            if (row.peer == nodes[index].identity.id()) return row.state;
        }
        return "unknown";
    }
    void carry_out(std::size_t index, Orders orders) {
        Node& node = nodes[index];
        for (const Contact& contact : orders.connect) node.connected[contact.peer] = contact.address;
        for (const PeerId& peer : orders.disconnect) node.connected.erase(peer);
        for (auto& message : orders.messages) send(index, index_of(message.to), std::move(message.body));
        node.notes.insert(node.notes.end(), orders.notes.begin(), orders.notes.end());
        if (!orders.view) return;
        const View& view = *orders.view;
        EXPECT_TRUE(std::ranges::is_sorted(view.members));
        EXPECT_EQ(std::ranges::adjacent_find(view.members), view.members.end());
        EXPECT_TRUE(view.index_of(node.identity.id()));
        EXPECT_GT(view.epoch, node.views.empty() ? 0U : node.views.back().epoch);
        EXPECT_FALSE(view.reason.empty());
        node.views.push_back(view);
    }

  private:
    struct Flight {
        double arrival;
        std::size_t from;
        std::size_t to;
        Body body;
    };
    [[nodiscard]] std::size_t index_of(const PeerId& peer) const {
        const auto found =
            std::ranges::find(nodes, peer, [](const Node& node) { return node.identity.id(); });
        EXPECT_NE(found, nodes.end());
        return static_cast<std::size_t>(found - nodes.begin());
    }
    std::vector<Flight> in_flight_;
};

}  // namespace Atoll::gossip::testing
