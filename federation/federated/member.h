// What a member of a federated run is made of and keeps over restarts, whichever part it plays.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "federation/algorithm/algorithm.h"
#include "federation/federated/core.h"
#include "federation/federated/packed.h"
#include "federation/federated/payload.h"
#include "federation/federated/registry.h"
#include "federation/run_config.h"

namespace Atoll::federation {

// The part of a client: every member's, the server's own too.
struct ClientPart {
    ClientCore<float> core;
    std::uint64_t birth = 0;     // of this state, microseconds since 1970; 0: not born yet
    std::uint64_t sequence = 0;  // of the newest upload
    std::array<float, 2 * kPackedFloats + 1> packed{};
};

struct ServerPart {
    ServerPart(Method<float>& method, std::size_t parameters, std::size_t memory)
        : core(method, parameters), clients(memory) {}
    ServerCore<float> core;
    ClientRegistry clients;
};

class FederatedMember {
  public:
    FederatedMember(const RunConfig& config, std::size_t parameters, const MethodEntry& entry);

    // Makes this member the server.
    ServerPart& serve();

    // eta of a step (counted from 0) by the run's schedule.
    [[nodiscard]] double rate(std::uint64_t step) const;
    [[nodiscard]] std::uint64_t local_steps() const {
        return static_cast<std::uint64_t>(config.algorithm.inner_steps);
    }
    // The H local steps of `round` from `model`, and what comes of them, encoded and staged in client.core;
    // fills in the report. Errors: as take_inner_steps(); failed if the parameters diverged.
    [[nodiscard]] Result<EncodedVectors> train(Context& context, std::span<const float> model,
                                               std::span<const float> mean, std::size_t clients,
                                               std::uint64_t at_round, RoundReport& report);
    // Puts the model of the end of `at_round` rounds into the worker.
    void show_model(Worker& worker, std::span<const float> model, std::uint64_t at_round) const;
    // Stages what the client sends, under its next sequence number.
    [[nodiscard]] EncodedVectors encode(Context& context, const gossip::Codec& codec,
                                        std::span<const ClientCore<float>::Outgoing> vectors,
                                        std::uint64_t at_round);

    // "own.*" (the client's part); "server.*", "registry.*", "memory.*" (the server's, if it is one).
    [[nodiscard]] std::vector<StateVector> state();
    [[nodiscard]] bool reserve(std::string_view name);
    void restored();

    const RunConfig config;
    const std::size_t parameters;
    const std::unique_ptr<Method<float>> method;
    const std::unique_ptr<gossip::Codec> exact;  // of downloads, and of the last push of a client that leaves
    std::uint64_t round = 0;
    ClientPart client;
    std::optional<ServerPart> server;
};

}  // namespace Atoll::federation
