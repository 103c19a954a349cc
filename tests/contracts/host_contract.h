// What every gossip::Host promises, as cases that run on any implementation: the network, the simulation, the
// fake in virtual time. A case is a set of bodies, one a host, run as activities; what does not hold comes
// back as text, so that a case can also run where no test assertion reaches (another process).
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "gossip/host.h"

namespace Atoll::contracts {

// Some hosts that know each other, and nobody else.
class HostFixture {
  public:
    virtual ~HostFixture() = default;
    // Runs bodies[i] as an activity of host i; returns when all have returned.
    virtual void run(const std::vector<std::function<void(gossip::Host&)>>& bodies) = 0;
    // Shuts host `index` down; called from within a body of any host.
    virtual void stop(std::size_t index) = 0;
    [[nodiscard]] virtual gossip::PeerId id(std::size_t index) const = 0;
};

using MakeFixture = std::function<std::unique_ptr<HostFixture>(std::size_t hosts)>;

// What did not hold. Thread-safe.
class Findings {
  public:
    void expect(bool holds, std::string_view what);
    [[nodiscard]] std::string text() const;

  private:
    mutable std::mutex mutex_;  // guards text_
    std::string text_;
};

struct HostCase {
    std::string_view name;
    std::size_t hosts;
    void (*check)(HostFixture& fixture, Findings& findings);
};

[[nodiscard]] std::span<const HostCase> host_contract();

// A case in a file of its own.
inline constexpr std::size_t kAveragingHosts = 4;
void averages_are_the_same_bits_on_every_host(HostFixture& fixture, Findings& findings);

// Instantiated once an implementation:
//   INSTANTIATE_TEST_SUITE_P(Network, HostContract, testing::ValuesIn(host_cases(make)), host_case_name);
struct HostContractParameter {
    HostCase the_case;
    // Runs the case and returns Findings::text(); in a child process where the implementation needs one.
    std::function<std::string(const HostCase&)> run;
};
class HostContract : public testing::TestWithParam<HostContractParameter> {};

[[nodiscard]] std::vector<HostContractParameter> host_cases(
    const std::function<std::string(const HostCase&)>& run);
[[nodiscard]] std::vector<HostContractParameter> host_cases(const MakeFixture& make);
[[nodiscard]] std::string host_case_name(const testing::TestParamInfo<HostContractParameter>& info);
[[nodiscard]] std::string run_host_case(const HostCase& the_case, const MakeFixture& make);

}  // namespace Atoll::contracts
