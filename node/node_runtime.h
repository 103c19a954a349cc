// A running peer: trains, exchanges, checkpoints, and shows what it does, until the run ends or it is
// stopped.
#pragma once

#include <vector>

#include "base/result.h"
#include "gossip/certificate.h"
#include "kernels/collective/collective.h"
#include "node/command.h"
#include "node/config.h"
#include "node/home.h"
#include "node/node_state.h"

namespace Atoll::node {

struct NodeRequest {
    const Config& config;
    const Home& home;
    const gossip::Identity& identity;
    gossip::Certificate certificate;
    std::vector<Bytes> records;            // member records from a join reply
    bool first = false;                    // nobody can be ahead of this node: it begins the run
    bool fresh = false;                    // begin in a new run folder
    bool leave = false;                    // a federated client: leave the run for good, then end
    std::string trace;                     // file for a Chrome trace of what the node does; empty: none
    kernels::Collective* ranks = nullptr;  // of this node, if there are several: this process is rank 0
};

struct NodeResult {
    NodeState state;
    bool interrupted = false;  // by the stop token, after a clean checkpoint
};

// The work of another rank of such a node.
[[nodiscard]] Result<Outcome> follow_node(const Config& config, kernels::Collective& ranks);

// Resumes from the run folder's newest checkpoint, and goes on from the peers' newest state where they are
// ahead.
[[nodiscard]] Result<NodeResult> run_node(const NodeRequest& request, Session& session);

// The JSON object of `node` and `join` (docs/reference/cli.md).
[[nodiscard]] std::string node_json(const NodeResult& result);

}  // namespace Atoll::node
