// The peer: gloo's ring all-reduce over TCP on loopback.
//
//   all_reduce_gloo [processes] [values] [repetitions]
#include <gloo/allreduce.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>
#include <stdlib.h>

#include <filesystem>

#include "tests/benchmarks/process_group.h"

using Atoll::benchmarks::ProcessGroup;

int main(int argc, char** argv) {
    const std::size_t processes = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 2;
    const std::size_t values = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 124'000'000;
    const int repetitions = argc > 3 ? std::atoi(argv[3]) : 3;
    char folder[] = "/tmp/all_reduce_gloo.XXXXXX";
    ATOLL_CHECK(mkdtemp(folder) != nullptr);
    ProcessGroup group(processes);
    group.run([&](std::size_t member) {
        gloo::transport::tcp::attr address("127.0.0.1");
        auto device = gloo::transport::tcp::CreateDevice(address);
        gloo::rendezvous::FileStore store(folder);
        auto context = std::make_shared<gloo::rendezvous::Context>(static_cast<int>(member),
                                                                   static_cast<int>(processes));
        context->connectFullMesh(store, device);
        std::vector<float> vector(values, 0.5F);
        const double seconds = group.median_seconds(member, repetitions, [&] {
            gloo::AllreduceOptions options(context);
            options.setAlgorithm(gloo::AllreduceOptions::Algorithm::RING);
            options.setOutput(vector.data(), vector.size());
            options.setReduceFunction([](void* out, const void* a, const void* b, std::size_t n) {
                gloo::sum<float>(out, a, b, n);
            });
            gloo::allreduce(options);
        });
        if (member == 0) Atoll::benchmarks::print_all_reduce("gloo ring, tcp", processes, values, seconds);
    });
    std::filesystem::remove_all(folder);
    return 0;
}
