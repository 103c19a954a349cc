// The host that tests of gossip and federation run on keeps the contract of the two real ones.
#include "base/check.h"
#include "tests/contracts/host_contract.h"
#include "tests/fakes/memory_host.h"

namespace Atoll::contracts {
namespace {

class MemoryFixture : public HostFixture {
  public:
    explicit MemoryFixture(std::size_t hosts) : network_({.hosts = hosts}) {}
    void run(const std::vector<std::function<void(gossip::Host&)>>& bodies) override {
        for (std::size_t i = 0; i < bodies.size(); ++i) {
            network_.start(i, "body", [&, i] { bodies[i](network_.host(i)); });
        }
        ATOLL_CHECK(network_.run());
    }
    void stop(std::size_t index) override { network_.stop(index); }
    gossip::PeerId id(std::size_t index) const override { return network_.id(index); }

  private:
    fakes::MemoryNetwork network_;
};

std::unique_ptr<HostFixture> make(std::size_t hosts) { return std::make_unique<MemoryFixture>(hosts); }

INSTANTIATE_TEST_SUITE_P(Memory, HostContract, testing::ValuesIn(host_cases(make)), host_case_name);

}  // namespace
}  // namespace Atoll::contracts
