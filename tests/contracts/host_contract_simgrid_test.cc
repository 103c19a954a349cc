// The simulated host keeps the contract of all hosts.
#include "sims/simulation.h"
#include "tests/contracts/host_contract.h"
#include "tests/sims/in_child.h"

namespace Atoll::contracts {
namespace {

class SimulatedFixture : public HostFixture {
  public:
    explicit SimulatedFixture(std::size_t hosts) {
        scenario_.sites = {{"home", hosts, 100, 1}};
        simulation_ = std::make_unique<sims::Simulation>(scenario_, sims::Simulation::Options{});
        hosts_.resize(hosts);
    }
    void run(const std::vector<std::function<void(gossip::Host&)>>& bodies) override {
        (void)simulation_->run(
            [&](std::size_t node, std::uint64_t, gossip::Host& host) {
                hosts_[node] = &host;
                bodies[node](host);
                // Whoever is done stays reachable until all are, as a network host that is not shut down.
                ++ended_;
                while (ended_ < bodies.size()) host.sleep(1);
            },
            {});
    }
    void stop(std::size_t index) override { sims::stop(*hosts_[index]); }
    gossip::PeerId id(std::size_t index) const override { return simulation_->peers()[index]; }

  private:
    sims::Scenario scenario_;
    std::unique_ptr<sims::Simulation> simulation_;
    std::vector<gossip::Host*> hosts_;
    std::size_t ended_ = 0;
};

std::string run_in_child(const HostCase& the_case) {
    return sims::in_child([&] {
        return run_host_case(the_case,
                             [](std::size_t hosts) { return std::make_unique<SimulatedFixture>(hosts); });
    });
}

INSTANTIATE_TEST_SUITE_P(SimGrid, HostContract, testing::ValuesIn(host_cases(run_in_child)), host_case_name);

}  // namespace
}  // namespace Atoll::contracts
