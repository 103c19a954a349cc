// The optimizers' element-wise steps of every device beside those of one CPU thread, which tests/model holds
// to trajectories computed in double precision.
#include <tuple>

#include "tests/kernels/ops_fixture.h"

namespace Atoll::kernels::testing {
namespace {

using Updates = OpsSuite;

constexpr std::size_t kSize = 1003;

// Parameters, gradient and four vectors of state, by turns of any sign or positive.
struct Vectors {
    explicit Vectors(Ops& device) : ops(device) {
        for (std::uint64_t i = 0; i < 6; ++i) {
            Doubles values = random_doubles(kSize, 40 + i);
            if (i >= 4) {
                for (double& value : values) value = std::abs(value) + 0.01;
            }
            if (i == 1) values[3] = 0;
            buffers.push_back(std::make_unique<Guarded>(device, values));
        }
    }
    [[nodiscard]] float* at(std::size_t i) { return buffers[i]->data(); }
    [[nodiscard]] UpdateRange range() { return {at(0), at(1), kSize, 0.5F, 0.99F}; }

    Ops& ops;
    std::vector<std::unique_ptr<Guarded>> buffers;
};

// Vectors 2 and 3 are of any sign, 4 and 5 positive.
std::vector<Update> every_update(Vectors& v) {
    const UpdateRange at = v.range();
    return {
        AdamUpdate{at, v.at(2), v.at(4), 0.9F, 0.99F, 0.01F, 1.1F, 1e-8F},
        AdoptUpdate{at, v.at(2), v.at(4), 0.9F, 0.99F, 0.01F, 1e-6F, 0.7F},
        AdemamixUpdate{at, v.at(2), v.at(4), v.at(3), 0.9F, 0.99F, 0.999F, 5, 0.01F, 1.2F, 1.1F, 1e-8F},
        LionUpdate{at, v.at(2), 0.9F, 0.99F, 0.01F},
        SignumUpdate{at, v.at(2), 0.95F, 1, 0.95F, 0.01F},
        MarsUpdate{at, v.at(2), v.at(4), v.at(3), 0.3F, 0.8F, 0.9F, 0.99F, 0.01F, 1.1F, 1e-8F},
        ScheduleFreeUpdate{at, v.at(2), v.at(4), 0.9F, 0.99F, 0.01F, 1.1F, 1e-8F, 0.1F, 0.3F},
        SophiaUpdate{at, v.at(2), v.at(4), 0.9F, 0.01F, 2, 1e-3F},
        ProdigyUpdate{at, v.at(2), v.at(4), 0.01F, 1e-8F},
        SquareUpdate{at, v.at(4), 0.99F},
        MomentumUpdate{at, v.at(2), v.at(3), 0.95F, 1, 0.95F, 1},
        PreconditionUpdate{at, v.at(2), v.at(4), v.at(3), 0.99F, 1e-8F},
    };
}

void expect_equal(Vectors& actual, Vectors& expected, const std::string& what) {
    for (std::size_t i = 0; i < actual.buffers.size(); ++i) {
        const std::vector<float> values = expected.buffers[i]->floats();
        expect_close(*actual.buffers[i], Doubles(values.begin(), values.end()), 1e-6,
                     what + " vector " + std::to_string(i));
    }
}

TEST_P(Updates, Element_wise_steps_equal_those_of_the_cpu) {
    const auto cpu = make_cpu_ops(1);
    for (std::size_t kind = 0; kind < std::variant_size_v<Update>; ++kind) {
        Vectors actual(*ops), expected(*cpu);
        const auto updates = every_update(actual);
        ASSERT_EQ(updates.size(), std::variant_size_v<Update>);
        ASSERT_EQ(updates[kind].index(), kind) << "one of each kind, in the order of kernels/update.h";
        ops->update(updates[kind]);
        cpu->update(every_update(expected)[kind]);
        expect_equal(actual, expected, "kind " + std::to_string(kind));
    }
}

TEST_P(Updates, Steps_with_sums_equal_those_of_the_cpu) {
    const auto cpu = make_cpu_ops(1);
    Vectors actual(*ops), expected(*cpu);
    constexpr std::size_t kColumns = 59;  // 17 rows
    for (auto [device, vectors] : {std::tuple{ops.get(), &actual}, std::tuple{cpu.get(), &expected}}) {
        device->update_rows(
            {vectors->range(), kColumns, vectors->at(2), vectors->at(4), 0.9F, 0.99F, 0.01F, 1.1F, 1e-8F});
    }
    expect_equal(actual, expected, "rows");

    std::vector<ProdigySums> sums;
    for (auto [device, vectors] : {std::tuple{ops.get(), &actual}, std::tuple{cpu.get(), &expected}}) {
        sums.push_back(
            device->prodigy_moments({vectors->range(), vectors->at(5), vectors->at(2), vectors->at(4),
                                     vectors->at(3), 0.9F, 0.99F, 0.95F, 0.1F, 0.01F, 0.2F}));
    }
    expect_equal(actual, expected, "moments");
    EXPECT_NEAR(sums[0].toward_start, sums[1].toward_start, 1e-5 * std::abs(sums[1].toward_start));
    EXPECT_NEAR(sums[0].absolute, sums[1].absolute, 1e-5 * sums[1].absolute);
}

INSTANTIATE_TEST_SUITE_P(Devices, Updates, ::testing::ValuesIn(devices()), device_name);

}  // namespace
}  // namespace Atoll::kernels::testing
