// The algorithms around a server: fedavg, fedavgm, fedadam, fedyogi, fedprox, fedau, mifa, scaffold, focus.
// One member serves, the others are its clients; the mathematics of each is a file in federation/federated.
#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "federation/algorithm/checks.h"
#include "federation/algorithm/entries.h"
#include "federation/algorithm/steps.h"
#include "federation/federated/client.h"
#include "federation/federated/member.h"
#include "federation/federated/server.h"

namespace Atoll::federation {

namespace {

class Federated : public Algorithm {
  public:
    Federated(const RunConfig& config, std::size_t parameters, const MethodEntry& entry)
        : member_(config, parameters, entry) {}

    Status run(Context& context) override {
        if (!member_.server && member_.round == 0 && !context.late) {
            ATOLL_TRY(wait_for_members(context, static_cast<std::size_t>(member_.config.run.members_min)));
        }
        if (serves(context)) return FederatedServer(context, member_, *this).run();
        return FederatedClient(context, member_, *this).run();
    }
    [[nodiscard]] std::uint64_t round() const override { return member_.round; }
    [[nodiscard]] std::uint64_t rounds() const override {
        return static_cast<std::uint64_t>(member_.config.run.rounds);
    }
    // With the round all of a checkpoint has been read.
    void set_round(std::uint64_t round) override {
        member_.round = round;
        member_.restored();
    }
    // "own.*", of a client; "server.*", "registry.*", "memory.*", of the server. Nothing is shared: the
    // server tells a joiner where the run stands.
    [[nodiscard]] std::vector<StateVector> state() override { return member_.state(); }
    [[nodiscard]] bool reserve(std::string_view name) override { return member_.reserve(name); }
    void adopted(Worker&) override {}

  private:
    // Who served before a restart does so again. A joiner never takes the place by itself: the run has a
    // server.
    [[nodiscard]] bool serves(Context& context) {
        if (member_.server) return true;
        const std::string& chosen = member_.config.averaging.server;
        if (chosen.empty() && context.late) return false;
        context.inbox.absorb();
        return gossip::server_of(context.inbox.view(), chosen) == context.host.self();
    }

    FederatedMember member_;
};

template <typename... Args>
Error contradiction(fmt::format_string<Args...> format, Args&&... args) {
    return {ErrorCode::invalid, fmt::format(format, std::forward<Args>(args)...)};
}

Status check_keys(const RunConfig& config) {
    const auto& federated = config.algorithm.federated;
    if (federated.participation == "trace" && federated.participation_trace.empty()) {
        return contradiction(
            "algorithm.participation = trace but algorithm.participation_trace is empty: expected a file");
    }
    if (federated.participation_low > federated.participation_high) {
        return contradiction(
            "algorithm.participation_low = {} is above algorithm.participation_high = {}: expected at most "
            "that",
            federated.participation_low, federated.participation_high);
    }
    if (federated.expiry_rounds > 0 && !federated.remember_clients) {
        return contradiction(
            "algorithm.expiry_rounds = {} but algorithm.remember_clients = false: a server that keeps no "
            "copy of what a client tracks cannot forget it: expected true",
            federated.expiry_rounds);
    }
    return {};
}

}  // namespace

std::unique_ptr<Algorithm> make_federated(const RunConfig& config, std::size_t parameters) {
    const MethodEntry* const entry = find_method(config.algorithm.name);
    ATOLL_CHECK(entry != nullptr);  // the table of algorithms has no other names with this maker
    return std::make_unique<Federated>(config, parameters, *entry);
}

Status check_federated(const RunConfig& config) {
    const MethodEntry* const entry = find_method(config.algorithm.name);
    ATOLL_CHECK(entry != nullptr);
    if (config.averaging.name != "star") {
        return contradiction(
            "algorithm.name = {} needs a server but averaging.name = {} has none: expected star",
            config.algorithm.name, config.averaging.name);
    }
    ATOLL_TRY(check_no_outer_step(config));
    const auto& optimizer = config.optimizer;
    if (entry->own_steps && (optimizer.name != "sgd" || optimizer.beta1 != 0)) {
        return contradiction(
            "algorithm.name = {} takes plain gradient steps but optimizer.name = {} with optimizer.beta1 = "
            "{}: expected sgd with 0",
            config.algorithm.name, optimizer.name, optimizer.beta1);
    }
    if (entry->own_steps && optimizer.weight_decay != 0) {
        return contradiction(
            "algorithm.name = {} takes plain gradient steps but optimizer.weight_decay = {}: expected 0",
            config.algorithm.name, optimizer.weight_decay);
    }
    if ((entry->own_steps || entry->tracks) && config.schedule.search != "none") {
        return contradiction(
            "algorithm.name = {} takes the rate from the schedule but schedule.search = {}: expected none",
            config.algorithm.name, config.schedule.search);
    }
    return check_keys(config);
}

}  // namespace Atoll::federation
