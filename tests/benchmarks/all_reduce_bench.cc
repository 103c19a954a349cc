// Averaging one vector among processes on loopback with all_reduce: the whole node transport (chunks, signed
// envelopes, reassembly), without encryption ("plain": neither encrypts nor hashes payloads) and with it.
//
//   all_reduce_bench [processes = 2] [values = 124000000] [repetitions = 3] [plain|curve] [codec ...]
//
// Prints for each codec (default: all) the median seconds of the slowest member, and the bus bandwidth that
// an fp32 all-reduce would need to be as fast. Without error feedback. compare_all_reduce.sh runs it beside
// Open MPI and gloo.
#include <fmt/core.h>

#include <cstdlib>
#include <string_view>

#include "gossip/averaging/averaging.h"
#include "kernels/flat.h"
#include "node/host_network.h"
#include "tests/benchmarks/process_group.h"

namespace {

using namespace Atoll;
using benchmarks::ProcessGroup;

struct Options {
    std::size_t processes = 2;
    std::size_t values = 124'000'000;
    int repetitions = 3;
    bool plain = true;
    std::vector<std::string> codecs;
};

gossip::Identity identity_of(std::size_t member) {
    return gossip::Identity::from_seed(Bytes(32, static_cast<std::byte>(member + 1)));
}

void run_member(const Options& options, ProcessGroup& group, std::size_t member) {
    const gossip::Identity identity = identity_of(member);
    node::NetworkOptions network{.run = blake2b(as_byte_view("all_reduce_bench"))};
    network.transport.plain_for_benchmarks = options.plain;
    auto started = node::HostNetwork::start(identity, network);
    ATOLL_CHECK(started.ok());
    node::HostNetwork& host = **started;
    group.tell(member, host.bound_address());
    gossip::View view{.epoch = 1, .members = {}, .reason = "start"};
    for (std::size_t other = 0; other < group.members(); ++other) {
        const gossip::PeerId peer = identity_of(other).id();
        view.members.push_back(peer);
        if (other != member) host.connect(peer, group.text_of(other));
    }
    std::ranges::sort(view.members);
    const double deadline = host.now() + 60;
    for (const gossip::PeerId& peer : view.members) {
        while (peer != host.self() && !host.connected(peer)) {
            ATOLL_CHECK(host.now() < deadline);
            host.sleep(0.01);
        }
    }
    ATOLL_CHECK(host.send(host.self(), gossip::ViewChanged{view}, {}).ok());
    gossip::Inbox inbox(host);
    const auto topology = gossip::make_topology("full", {}).value();
    const auto averaging =
        gossip::make_averaging("all_reduce", {host, inbox, *topology, {.deadline_seconds = 600}}).value();

    kernels::FlatBuffer values(options.values);
    for (std::size_t i = 0; i < options.values; ++i)
        values.data()[i] = static_cast<float>((i * 2654435761U + member) % 1000) * 0.001F - 0.5F;
    std::uint64_t round = 0;
    for (const std::string& name : options.codecs) {
        const auto codec = gossip::make_codec(name, {}).value();
        const double seconds = group.median_seconds(member, options.repetitions, [&] {
            gossip::AveragePart part{values.span(), codec.get(), {}};
            const auto report = averaging->average(round++, std::span(&part, 1));
            ATOLL_CHECK(report.ok() && report->complete);
        });
        if (member == 0) {
            benchmarks::print_all_reduce(fmt::format("atoll {} {}", options.plain ? "plain" : "curve", name),
                                         options.processes, options.values, seconds);
        }
    }
    group.wait_for_all();
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    if (argc > 1) options.processes = std::strtoul(argv[1], nullptr, 10);
    if (argc > 2) options.values = std::strtoul(argv[2], nullptr, 10);
    if (argc > 3) options.repetitions = std::atoi(argv[3]);
    if (argc > 4) options.plain = std::string_view(argv[4]) == "plain";
    for (int i = 5; i < argc; ++i) options.codecs.emplace_back(argv[i]);
    if (options.codecs.empty()) {
        for (const auto& entry : gossip::codecs()) options.codecs.emplace_back(entry.name);
    }
    ProcessGroup group(options.processes);
    group.run([&](std::size_t member) { run_member(options, group, member); });
    return 0;
}
