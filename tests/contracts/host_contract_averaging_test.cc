// Averages are the same bits on every kind of host: what the network and the simulation give is what the fake
// in virtual time gives, scheme by scheme.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "gossip/averaging/averaging.h"
#include "tests/contracts/host_contract.h"
#include "tests/fakes/memory_host.h"

namespace Atoll::contracts {

namespace {

using gossip::Host;
using gossip::PeerId;

constexpr std::size_t kMembers = kAveragingHosts;
constexpr std::size_t kValues = 3000;
constexpr double kPatience = 60;

struct Combination {
    const gossip::AveragingEntry* averaging;
    const gossip::TopologyEntry* topology;
    const gossip::CodecEntry* codec;
    [[nodiscard]] std::string text() const {
        return fmt::format("{} over {} in {}", averaging->name, topology->name, codec->name);
    }
};

// Every scheme with every codec, over topologies in turn.
std::vector<Combination> combinations() {
    std::vector<Combination> all;
    std::size_t turn = 0;
    for (const auto& averaging : gossip::averagings()) {
        for (const auto& codec : gossip::codecs()) {
            const auto& topology = gossip::topologies()[turn++ % gossip::topologies().size()];
            all.push_back({&averaging, &topology, &codec});
        }
    }
    return all;
}

std::vector<float> values_of(std::size_t rank) {
    Rng rng = Rng(5).split("values", rank);
    std::vector<float> values(kValues);
    for (float& value : values) value = static_cast<float>(rng.normal());
    return values;
}

// What the member of that rank in the view holds after one average; a round of its own for each combination,
// so that late messages of one do not meet the next.
std::vector<float> average(const Combination& tested, std::uint64_t round, std::size_t rank, Host& host,
                           gossip::Inbox& inbox, Findings& findings) {
    const auto topology =
        tested.topology->make({.degree = std::max<std::int64_t>(tested.topology->degree_min, 1), .seed = 3});
    const auto codec = tested.codec->make({});
    const auto scheme = tested.averaging->make({host, inbox, *topology, {.deadline_seconds = kPatience}});
    std::vector<float> values = values_of(rank);
    gossip::AveragePart part{values, codec.get(), {}};
    const auto report = scheme->average(round, std::span(&part, 1));
    findings.expect(report.ok() && report->complete, tested.text() + " is complete");
    if (report.ok()) {
        for (const std::string& reason : report->reasons)
            findings.expect(false, tested.text() + ": " + reason);
    }
    return values;
}

// Everybody tells everybody else, and waits to be told as often.
void meet(HostFixture& fixture, Host& host, Findings& findings) {
    for (std::size_t i = 0; i < kMembers; ++i) {
        if (fixture.id(i) == host.self()) continue;
        const double deadline = host.now() + kPatience;
        while (!host.send(fixture.id(i), gossip::StateRequest{}).ok() && host.now() < deadline)
            host.sleep(0.01);  // not connected yet
    }
    for (std::size_t i = 0; i + 1 < kMembers; ++i) {
        findings.expect(host.receive(gossip::Topic::state, host.now() + kPatience).has_value(),
                        "everybody is there");
    }
}

}  // namespace

void averages_are_the_same_bits_on_every_host(HostFixture& fixture, Findings& findings) {
    gossip::View view{.epoch = 1, .members = {}, .reason = "start"};
    for (std::size_t i = 0; i < kMembers; ++i) view.members.push_back(fixture.id(i));
    std::ranges::sort(view.members);
    const std::vector<Combination> all = combinations();
    using Results = std::vector<std::vector<std::vector<float>>>;  // combination, rank, values
    const auto run = [&](std::size_t rank, Host& host, gossip::Inbox& inbox, Results& results,
                         const std::function<void()>& wait) {
        for (std::size_t c = 0; c < all.size(); ++c) {
            wait();
            results[c][rank] = average(all[c], c, rank, host, inbox, findings);
        }
    };
    Results results(all.size(), std::vector<std::vector<float>>(kMembers));
    Results expected = results;
    std::vector<std::function<void(Host&)>> bodies(kMembers, [&](Host& host) {
        findings.expect(host.send(host.self(), gossip::ViewChanged{view}).ok(), "a view can be told");
        gossip::Inbox inbox(host);
        findings.expect(inbox.wait_for_members(kMembers, host.now() + kPatience), "the view arrives");
        run(*view.index_of(host.self()), host, inbox, results, [&] { meet(fixture, host, findings); });
    });
    fixture.run(bodies);

    fakes::MemoryNetwork network({.hosts = kMembers});
    for (std::size_t rank = 0; rank < kMembers; ++rank) {
        network.start(rank, "average", [&, rank] {
            gossip::Inbox inbox(network.host(rank));
            (void)inbox.wait_for_members(kMembers, kPatience);
            run(rank, network.host(rank), inbox, expected,
                [&] { network.host(rank).sleep(std::ceil(network.now()) + 1 - network.now()); });
        });
    }
    network.announce_members("start");
    findings.expect(network.run(), "the run in virtual time ends");
    for (std::size_t c = 0; c < all.size(); ++c) {
        for (std::size_t rank = 0; rank < kMembers; ++rank) {
            const bool same =
                results[c][rank].size() == kValues &&
                std::memcmp(results[c][rank].data(), expected[c][rank].data(), kValues * sizeof(float)) == 0;
            findings.expect(same, all[c].text() + " gives the bits of virtual time");
        }
    }
}

}  // namespace Atoll::contracts
