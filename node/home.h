// The home folder of a machine's nodes (~/.atoll, $ATOLL_HOME or --home): its keys, and what it keeps of
// every run.
//
//   node.key  owner.key  node.json (the running node's addresses)
//   runs/<run id>/  certificate  members  invites  incarnation  run.toml (what the run agreed on, for a run
//   that was joined)
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/hash.h"
#include "base/result.h"
#include "gossip/certificate.h"
#include "node/config.h"

namespace Atoll::node {

class Home {
  public:
    // `chosen`: --home, or empty: $ATOLL_HOME, else ~/.atoll. Errors (invalid): none of them is set.
    [[nodiscard]] static Result<Home> find(const std::string& chosen);

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    // As configured (local.identity, local.owner), or the home's own where the configuration leaves the
    // default.
    [[nodiscard]] std::filesystem::path node_key(const Config& config) const;
    [[nodiscard]] std::filesystem::path owner_key(const Config& config) const;
    [[nodiscard]] std::filesystem::path node_key() const { return path_ / "node.key"; }
    [[nodiscard]] std::filesystem::path owner_key() const { return path_ / "owner.key"; }
    [[nodiscard]] std::filesystem::path run(const Hash& run) const { return path_ / "runs" / to_hex(run); }
    [[nodiscard]] std::filesystem::path invites(const Hash& id) const { return run(id) / "invites"; }

    // This node's certificate in a run. Errors: not_found, corrupt.
    [[nodiscard]] Result<gossip::Certificate> load_certificate(const std::filesystem::path& path) const;
    [[nodiscard]] std::filesystem::path certificate(const Config& config, const Hash& id) const;
    // The members known when the node last ran: encoded records, none if there is no file.
    [[nodiscard]] std::vector<Bytes> load_members(const Hash& id) const;
    [[nodiscard]] Status save_members(const Hash& id, const std::vector<Bytes>& records) const;

    // The number of a start of this node in a run: the Unix time in seconds, but above every number given
    // before, also if the clock has gone back since. Kept before it is returned.
    [[nodiscard]] Result<std::uint64_t> next_incarnation(const Hash& id, std::uint64_t unix_seconds) const;

    // Where the node that runs from this home listens.
    struct Running {
        std::string run;      // hexadecimal
        std::string peer;     // hexadecimal
        std::string address;  // "tcp://host:port", what others are told
        std::string http;     // "host:port", empty: none
        std::string folder;
    };
    [[nodiscard]] Status save_running(const Running& running) const;
    // Errors: not_found: no node has run from here.
    [[nodiscard]] Result<Running> load_running() const;

  private:
    explicit Home(std::filesystem::path path) : path_(std::move(path)) {}
    std::filesystem::path path_;
};

// The node's identity; made if there is none yet (`created` tells).
[[nodiscard]] Result<gossip::Identity> load_or_create_identity(const std::filesystem::path& path,
                                                               bool& created);

}  // namespace Atoll::node
