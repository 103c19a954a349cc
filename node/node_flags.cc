#include "node/node_flags.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>

namespace Atoll::node {

void NodeFlags::declare(CLI::App& app) {
    app.add_option("--home", home, "home folder (default: $ATOLL_HOME, else ~/.atoll)")->type_name("DIR");
    app.add_option("--init", init, "begin from this model's parameters (local.initial_model)")
        ->type_name("DIR");
    app.add_option("--listen", listen, "host:port to listen on (local.listen)");
    app.add_option("--announce", announce, "host:port that others are told (local.announce)");
    app.add_option("--http", http, "host:port of state and metrics (local.http)");
    app.add_option("--name", name, "a name for people (local.name)");
    app.add_option("--out", out, "the run's folder (local.folder)")->type_name("DIR");
    app.add_option("--trace", trace, "write what this node does when, for ui.perfetto.dev")
        ->type_name("FILE");
    app.add_flag("--fresh", fresh, "begin in a new run folder instead of continuing");
}

std::vector<Override> NodeFlags::overrides() const {
    std::vector<Override> all;
    const auto add = [&all](const std::string& value, const char* key, const char* flag) {
        if (!value.empty()) all.push_back({key, value, flag});
    };
    add(data, "local.data", "--data");
    add(init, "local.initial_model", "--init");
    add(listen, "local.listen", "--listen");
    add(announce, "local.announce", "--announce");
    add(http, "local.http", "--http");
    add(name, "local.name", "--name");
    add(out, "local.folder", "--out");
    return all;
}

Outcome finish_node(const NodeResult& result, Session& session) {
    const NodeState& state = result.state;
    session.print(fmt::format(
        "{} after round {}, step {}: train loss {:.4f}, held-out loss {:.4f}, {} bytes sent, {} incomplete "
        "rounds; {}",
        result.interrupted ? "stopped" : "done", state.round, state.step, state.train_loss, state.val_loss,
        state.bytes_sent, state.rounds_incomplete, state.folder));
    return {node_json(result), result.interrupted ? exit_code(ErrorCode::interrupted) : 0};
}

}  // namespace Atoll::node
