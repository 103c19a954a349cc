// The flags that `node` and `join` share, and how both end.
#pragma once

#include <string>
#include <vector>

#include "node/command.h"
#include "node/config.h"
#include "node/node_runtime.h"

namespace Atoll::node {

struct NodeFlags {
    std::string data, init, home, listen, announce, http, name, out, trace;
    bool fresh = false;

    void declare(CLI::App& app);
    [[nodiscard]] std::vector<Override> overrides() const;
};

// Prints the result. Exit code 130 if the node was interrupted, with everything saved.
[[nodiscard]] Outcome finish_node(const NodeResult& result, Session& session);

}  // namespace Atoll::node
