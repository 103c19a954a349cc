// The simulated world against closed forms: bytes over bandwidth plus latency, fair shares, faults,
// determinism.
#include "sims/simulation.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "tests/sims/in_child.h"

namespace Atoll::sims {
namespace {

using gossip::Host;
using gossip::Topic;
using testing::HasSubstr;

constexpr std::size_t kMegabyte = 1000000;
// What one message of that payload costs on the wire beyond the payload: envelope and a header a MiB.
double overhead_seconds(std::size_t payload, double bytes_per_second) {
    return (400.0 + std::ceil(static_cast<double>(payload) / (1 << 20)) * 50.0) / bytes_per_second;
}

Scenario two_sites() {
    Scenario scenario;
    scenario.network.sites = {"eu 2 80 10", "asia 2 80 20"};  // 10 MB/s access links
    scenario.network.routes = {"eu asia 40 50"};              // 5 MB/s between
    return scenario;
}

// Runs a program on every node; returns what it printed, then "end <virtual seconds> <trace>".
std::string simulate(Scenario scenario, Simulation::Options options,
                     const std::function<void(std::ostringstream&, const std::vector<gossip::PeerId>&,
                                              std::size_t, std::uint64_t, Host&)>& program) {
    return in_child([&] {
        const Status status = resolve(scenario);
        if (!status) return status.error().message;
        std::ostringstream out;
        Simulation simulation(scenario, options);
        const auto peers = simulation.peers();
        const double end = simulation.run([&](std::size_t node, std::uint64_t incarnation,
                                              Host& host) { program(out, peers, node, incarnation, host); },
                                          [&](const Fault& fault, double seconds) {
                                              out << fmt::format("{:.3f} node {} {}\n", seconds, fault.node,
                                                                 fault.on ? "on" : "off");
                                          });
        const auto totals = simulation.totals();
        out << fmt::format("end {:.6f} lost {} trace {}\n", end, totals.messages_lost, to_hex(totals.trace));
        return out.str();
    });
}

double number_after(const std::string& text, const std::string& label) {
    const auto at = text.find(label);
    if (at == std::string::npos) {
        ADD_FAILURE() << "no \"" << label << "\" in:\n" << text;
        return -1;
    }
    return std::stod(text.substr(at + label.size()));
}

TEST(Simulation, A_transfer_takes_bytes_over_bandwidth_plus_latency) {
    const std::string said =
        simulate(two_sites(), {}, [](auto& out, const auto& peers, std::size_t node, auto, Host& host) {
            if (node == 0) {
                ASSERT_TRUE(host.send(peers[1], gossip::Leave{}, SharedBytes(Bytes(2 * kMegabyte))).ok());
                host.sleep(10);
                ASSERT_TRUE(host.send(peers[3], gossip::Leave{}, SharedBytes(Bytes(2 * kMegabyte))).ok());
            } else if (node == 1 || node == 3) {
                if (host.receive(Topic::membership, 100))
                    out << fmt::format("node {} at {:.9f}\n", node, host.now());
            }
        });
    // Inside a site: 10 MB/s, 10 ms. Between sites: 5 MB/s, 5 + 50 + 10 ms.
    EXPECT_NEAR(number_after(said, "node 1 at "), 0.2 + 0.010 + overhead_seconds(2 * kMegabyte, 10e6), 1e-6)
        << said;
    EXPECT_NEAR(number_after(said, "node 3 at "), 10 + 0.4 + 0.065 + overhead_seconds(2 * kMegabyte, 5e6),
                1e-6)
        << said;
}

TEST(Simulation, Transfers_on_one_route_share_it_fairly) {
    const std::string said =
        simulate(two_sites(), {}, [](auto& out, const auto& peers, std::size_t node, auto, Host& host) {
            if (node < 2) {
                ASSERT_TRUE(
                    host.send(peers[node + 2], gossip::Leave{}, SharedBytes(Bytes(2 * kMegabyte))).ok());
            } else if (host.receive(Topic::membership, 100)) {
                out << fmt::format("node {} at {:.9f}\n", node, host.now());
            }
        });
    const double expected = 0.8 + 0.065 + overhead_seconds(2 * kMegabyte, 2.5e6);  // half of 5 MB/s each
    EXPECT_NEAR(number_after(said, "node 2 at "), expected, 1e-6) << said;
    EXPECT_NEAR(number_after(said, "node 3 at "), expected, 1e-6) << said;
}

TEST(Simulation, Payload_scale_makes_a_small_vector_count_as_a_large_one) {
    const std::string said =
        simulate(two_sites(), {.payload_scale = 1000},
                 [](auto& out, const auto& peers, std::size_t node, auto, Host& host) {
                     if (node == 0) {
                         ASSERT_TRUE(host.send(peers[1], gossip::Leave{}, SharedBytes(Bytes(2000))).ok());
                     } else if (node == 1 && host.receive(Topic::membership, 100)) {
                         out << fmt::format("node {} at {:.9f}\n", node, host.now());
                     }
                 });
    EXPECT_NEAR(number_after(said, "node 1 at "), 0.2 + 0.010 + overhead_seconds(2 * kMegabyte, 10e6), 1e-6)
        << said;
}

TEST(Simulation, Receive_gives_up_at_its_deadline_in_virtual_time) {
    const std::string said =
        simulate(two_sites(), {}, [](auto& out, const auto&, std::size_t node, auto, Host& host) {
            if (node != 0) return;
            const bool got = host.receive(Topic::mixing, 12345.5).has_value();
            out << fmt::format("got {} at {:.3f}\n", got, host.now());
        });
    EXPECT_THAT(said, HasSubstr("got false at 12345.500"));
}

TEST(Simulation, A_machine_switched_off_loses_what_flows_and_starts_anew) {
    Scenario scenario = two_sites();
    scenario.faults.script = {"1 off 1", "5 on 1"};
    const std::string said =
        simulate(scenario, {},
                 [](auto& out, const auto& peers, std::size_t node, std::uint64_t incarnation, Host& host) {
                     if (node == 0) {
                         ASSERT_TRUE(host.send(peers[1], gossip::Leave{}, SharedBytes(Bytes(50 * kMegabyte)))
                                         .ok());  // 5 s: broken at 1
                         host.sleep(2);
                         const Status refused = host.send(peers[1], gossip::Leave{});
                         out << "while off: " << (refused.ok() ? "sent" : refused.error().message) << "\n";
                         host.sleep(4);
                         ASSERT_TRUE(host.send(peers[1], gossip::Heartbeat{}).ok());
                     } else if (node == 1) {
                         out << fmt::format("start {} at {:.3f}\n", incarnation, host.now());
                         auto child = host.spawn("child", [&host] { (void)host.receive(Topic::state, 1e9); });
                         const auto message = host.receive(Topic::membership, 100);
                         out << "incarnation " << incarnation << " got "
                             << (message ? gossip::kind_name(message->body) : "nothing") << "\n";
                         stop(host);
                     }
                 });
    EXPECT_THAT(said, HasSubstr("start 0 at 0.000"));
    EXPECT_THAT(said, HasSubstr("is not connected"));
    EXPECT_THAT(said, HasSubstr("start 1 at 5.000"));
    EXPECT_THAT(said, HasSubstr("incarnation 1 got Heartbeat"));
    EXPECT_THAT(said, testing::Not(HasSubstr("incarnation 0 got")));
}

TEST(Simulation, A_sender_switched_off_in_mid_transfer_harms_nobody_else) {
    Scenario scenario = two_sites();
    scenario.faults.script = {"1 off 0"};
    const std::string said =
        simulate(scenario, {}, [](auto& out, const auto& peers, std::size_t node, std::uint64_t, Host& host) {
            if (node == 0) {
                ASSERT_TRUE(host.send(peers[1], gossip::Leave{}, SharedBytes(Bytes(50 * kMegabyte))).ok());
                host.sleep(100);
            } else if (node == 1) {
                const auto message = host.receive(Topic::membership, 50);
                out << "got " << (message ? gossip::kind_name(message->body) : "nothing") << "\n";
            } else if (node == 2) {
                host.sleep(3);
                ASSERT_TRUE(host.send(peers[1], gossip::Heartbeat{}).ok());
            }
        });
    EXPECT_THAT(said, HasSubstr("got Heartbeat"));
    EXPECT_EQ(number_after(said, " lost "), 1) << said;
}

TEST(Simulation, Lost_messages_are_counted_and_follow_the_probability) {
    const std::string said = simulate(two_sites(), {.loss = 0.3, .seed = 3},
                                      [](auto& out, const auto& peers, std::size_t node, auto, Host& host) {
                                          if (node == 0) {
                                              for (int i = 0; i < 2000; ++i)
                                                  ASSERT_TRUE(host.send(peers[1], gossip::Leave{}).ok());
                                          } else if (node == 1) {
                                              int count = 0;
                                              while (host.receive(Topic::membership, 50)) ++count;
                                              out << "arrived " << count << "\n";
                                          }
                                      });
    const double arrived = number_after(said, "arrived ");
    EXPECT_NEAR(arrived, 1400, 80);
    EXPECT_EQ(number_after(said, " lost "), 2000 - arrived);
}

TEST(Simulation, The_same_scenario_gives_the_same_trace_and_another_seed_another) {
    const auto chatter = [](auto&, const auto& peers, std::size_t node, auto, Host& host) {
        for (int i = 0; i < 20; ++i) {
            (void)host.send(peers[(node + 1 + static_cast<std::size_t>(i) % 3) % 4], gossip::Leave{},
                            SharedBytes(Bytes(1000 * (node + 1))));
            (void)host.receive(Topic::membership, host.now() + 0.05);
        }
    };
    const std::string first = simulate(two_sites(), {.loss = 0.1, .seed = 1}, chatter);
    EXPECT_EQ(first, simulate(two_sites(), {.loss = 0.1, .seed = 1}, chatter));
    EXPECT_NE(first, simulate(two_sites(), {.loss = 0.1, .seed = 2}, chatter));
}

}  // namespace
}  // namespace Atoll::sims
