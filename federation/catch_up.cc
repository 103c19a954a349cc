#include "federation/catch_up.h"

#include <cstring>

#include "base/log.h"
#include "federation/shared_state.h"
#include "federation/state_fetch.h"

namespace Atoll::federation {

Status catch_up(Context& context, Algorithm& algorithm, CatchUp occasion) {
    const bool arrival = occasion == CatchUp::on_arrival;
    gossip::Host& host = context.host;
    std::vector<gossip::PeerId> peers = context.inbox.view().members;
    std::erase(peers, host.self());

    std::uint64_t own = 0;  // so that members do not all ask the same peer
    std::memcpy(&own, host.self().key.data(), sizeof own);
    StateFetchOptions options{.bytes = shared_state_bytes(algorithm), .newer_than = algorithm.round()};
    options.seed = context.seed ^ own;
    options.round_max = algorithm.rounds();
    if (!arrival) options.peers_max = 1;

    const auto go_on_alone = [&](const Error& error) -> Status {
        if (arrival || error.code == ErrorCode::interrupted) return error;
        log::warn("staying in round {}: {}", algorithm.round(), error.message);
        return {};
    };
    const auto fetched = fetch_state(host, std::move(peers), options);
    if (!fetched) return go_on_alone(fetched.error());
    if (!fetched->has_value()) return {};
    const FetchedState& state = **fetched;
    const std::uint64_t before = algorithm.round();
    if (const Status adopted = adopt_shared_state(state.bytes, state.round, algorithm, context.worker);
        !adopted) {
        return go_on_alone(adopted.error().within(state.donor.short_name()));
    }
    log::info("adopted the state of round {} from {} (was in round {})", state.round,
              state.donor.short_name(), before);
    publish_state(host, algorithm);
    return {};
}

}  // namespace Atoll::federation
