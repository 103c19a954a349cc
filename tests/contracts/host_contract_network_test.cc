#include "base/check.h"
#include "base/hash.h"
#include "node/host_network.h"
#include "tests/contracts/host_contract.h"

namespace Atoll::contracts {
namespace {

// Hosts in one process, CURVE on loopback. The last one can't be dialled: it is answered over the connections
// it made.
class NetworkFixture : public HostFixture {
  public:
    explicit NetworkFixture(std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            identities_.push_back(gossip::Identity::from_seed(Bytes(32, static_cast<std::byte>(i + 1))));
        }
        for (const auto& identity : identities_) {
            auto host = node::HostNetwork::start(identity, {.run = blake2b(as_byte_view("contract"))});
            ATOLL_CHECK(host.ok());
            hosts_.push_back(std::move(*host));
        }
        for (std::size_t i = 0; i < count; ++i) {
            for (std::size_t j = 0; j < count; ++j) {
                if (i != j) hosts_[i]->connect(id(j), j + 1 == count ? "" : hosts_[j]->bound_address());
            }
        }
    }
    void run(const std::vector<std::function<void(gossip::Host&)>>& bodies) override {
        std::vector<std::unique_ptr<gossip::Activity>> activities;
        for (std::size_t i = 0; i < bodies.size(); ++i) {
            activities.push_back(hosts_[i]->spawn("body", [&, i] { bodies[i](*hosts_[i]); }));
        }
    }
    void stop(std::size_t index) override { hosts_[index]->stop(); }
    gossip::PeerId id(std::size_t index) const override { return identities_[index].id(); }

  private:
    std::vector<gossip::Identity> identities_;
    std::vector<std::unique_ptr<node::HostNetwork>> hosts_;
};

std::unique_ptr<HostFixture> make(std::size_t hosts) { return std::make_unique<NetworkFixture>(hosts); }

INSTANTIATE_TEST_SUITE_P(Network, HostContract, testing::ValuesIn(host_cases(make)), host_case_name);

}  // namespace
}  // namespace Atoll::contracts
