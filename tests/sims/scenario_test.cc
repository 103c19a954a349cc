#include "sims/scenario.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace Atoll::sims {
namespace {

using testing::HasSubstr;

TEST(Scenario, Texts_become_sites_routes_faults_and_slowness) {
    Scenario scenario;
    scenario.network.sites = {"eu 2 100 4", "us 1 50 2.5"};
    scenario.network.routes = {"us eu 20 45"};
    scenario.faults.script = {"12.5 off 2", "40 on 2"};
    scenario.simulation.slow = {"1 3.5"};
    const Status status = resolve(scenario);
    ASSERT_TRUE(status.ok()) << status.error().message;
    EXPECT_EQ(scenario.nodes(), 3U);
    EXPECT_EQ(scenario.sites[1].megabits, 50);
    EXPECT_EQ(scenario.routes.size(), 1U);
    EXPECT_EQ(scenario.routes[0].from, 1U);
    EXPECT_EQ(scenario.routes[0].milliseconds, 45);
    ASSERT_EQ(scenario.fault_script.size(), 2U);
    EXPECT_FALSE(scenario.fault_script[0].on);
    EXPECT_TRUE(scenario.fault_script[1].on);
    EXPECT_EQ(scenario.slowness, (std::vector<double>{1, 3.5, 1}));
}

TEST(Scenario, Bad_entries_name_key_and_entry) {
    const auto refused = [](const std::function<void(Scenario&)>& change, const std::string& key,
                            const std::string& entry) {
        Scenario scenario;
        change(scenario);
        const Status status = resolve(scenario);
        ASSERT_FALSE(status.ok()) << entry;
        EXPECT_EQ(status.error().code, ErrorCode::invalid);
        EXPECT_THAT(status.error().message, HasSubstr(key));
        EXPECT_THAT(status.error().message, HasSubstr(entry));
    };
    refused([](Scenario& s) { s.network.sites = {"eu two 100 4"}; }, "network.sites", "eu two 100 4");
    refused([](Scenario& s) { s.network.sites = {"eu 2 100"}; }, "network.sites", "eu 2 100");
    refused([](Scenario& s) { s.network.sites = {"eu 2 100 4 5"}; }, "network.sites", "eu 2 100 4 5");
    refused([](Scenario& s) { s.network.sites = {"eu 2 -1 4"}; }, "network.sites", "eu 2 -1 4");
    refused([](Scenario& s) { s.network.sites = {}; }, "network.sites", "0 nodes");
    refused([](Scenario& s) { s.network.sites = {"eu 30000 1 1"}; }, "network.sites", "30000");
    refused(
        [](Scenario& s) {
            s.network.sites = {"eu 1 1 1", "us 1 1 1"};
        },
        "network.routes", "between eu and us");
    refused(
        [](Scenario& s) {
            s.network.sites = {"eu 1 1 1", "us 1 1 1"};
            s.network.routes = {"eu usa 1 1"};
        },
        "network.routes", "did you mean us?");
    refused([](Scenario& s) { s.faults.script = {"1 off 4"}; }, "faults.script", "1 off 4");
    refused([](Scenario& s) { s.faults.script = {"1 down 1"}; }, "faults.script", "1 down 1");
    refused([](Scenario& s) { s.simulation.slow = {"0 0"}; }, "simulation.slow", "0 0");
}

}  // namespace
}  // namespace Atoll::sims
