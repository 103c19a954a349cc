// The CUDA kernels on the emulated device, their threads in order and shuffled.
#include "tests/emulation/device.h"
#include "tests/emulation/door.h"
#include "tests/kernels/ops_fixture.h"

namespace Atoll::kernels::testing {

namespace {

std::unique_ptr<Ops> make_emulated(std::uint64_t schedule) {
    emulation::schedule(schedule);
    char error[256] = "";
    PageSource shared;
    std::unique_ptr<Ops> ops(atoll_make_cuda_ops(&shared, error, sizeof error));
    EXPECT_NE(ops, nullptr) << error;
    return ops;
}

}  // namespace

std::vector<Device> devices() {
    return {
        {"in_order", [] { return make_emulated(0); }},
        {"shuffled", [] { return make_emulated(20261125); }},
    };
}

}  // namespace Atoll::kernels::testing
