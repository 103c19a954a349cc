#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "base/files.h"
#include "node/command.h"
#include "node/duration.h"
#include "node/home.h"
#include "node/node_flags.h"
#include "node/node_runtime.h"
#include "node/ranks.h"

namespace Atoll::node {

namespace {

constexpr std::uint64_t kOwnMembershipSeconds = std::uint64_t{10} * 365 * 86400;

class NodeCommand : public Command {
  public:
    void declare(CLI::App& app) override {
        app.add_option("file", file_, "run file, as --config (default: run.toml)")->type_name("FILE");
        app.add_option("--data", flags_.data, "folder of token shards (local.data)")->type_name("DIR");
        flags_.declare(app);
    }

    bool watches_stop() const override { return true; }

    Result<Outcome> run(Session& session) override {
        GlobalFlags flags = session.flags();
        if (!file_.empty()) flags.config_file = file_;
        if (flags.config_file.empty() && std::filesystem::exists("run.toml")) flags.config_file = "run.toml";
        if (flags.config_file.empty()) {
            return Error{ErrorCode::invalid,
                         "which run? Give its file: atoll node run.toml (atoll init writes one)"};
        }
        ATOLL_ASSIGN(const auto config, load_config(flags, flags_.overrides()));
        ATOLL_ASSIGN(const auto ranks, meet_ranks(*config, session));
        if (ranks->rank() != 0) return follow_node(*config, *ranks);
        ATOLL_ASSIGN(const Home home, Home::find(flags_.home));
        bool created = false;
        const auto key = home.node_key(*config);
        ATOLL_ASSIGN(const gossip::Identity identity, load_or_create_identity(key, created));
        if (created)
            session.note(
                fmt::format("new node key {} in {}", gossip::fingerprint(identity.id()), key.string()));
        bool first = false;
        ATOLL_ASSIGN(gossip::Certificate certificate, certificate_for(*config, home, identity, first));
        if (first) {
            session.note(fmt::format("to let others in: atoll invite --config {}{}", flags.config_file,
                                     flags_.home.empty() ? "" : " --home " + flags_.home));
        }
        ATOLL_ASSIGN(const NodeResult result, run_node({.config = *config,
                                                        .home = home,
                                                        .identity = identity,
                                                        .certificate = std::move(certificate),
                                                        .first = first,
                                                        .fresh = flags_.fresh,
                                                        .trace = flags_.trace,
                                                        .ranks = ranks.get()},
                                                       session));
        return finish_node(result, session);
    }

  private:
    // The one this node has, or a new one where the owner's key is at hand. `first`: this is the owner's own
    // node.
    static Result<gossip::Certificate> certificate_for(const Config& config, const Home& home,
                                                       const gossip::Identity& identity, bool& first) {
        const Hash run = federation::run_id(config.run);
        const auto path = home.certificate(config, run);
        const auto owner = gossip::Identity::load(home.owner_key(config));
        auto certificate = home.load_certificate(path);
        if (!certificate && certificate.error().code != ErrorCode::not_found) return certificate.error();
        if (!certificate) {
            if (!owner && owner.error().code != ErrorCode::not_found) return owner.error();
            if (!owner) {
                return Error{ErrorCode::refused,
                             fmt::format("this node has no certificate for run {} ({}): join it with an "
                                         "invite, or, if the run is "
                                         "yours, make an owner key with atoll keygen --owner",
                                         to_hex(run).substr(0, 12), path.string())};
            }
            certificate =
                gossip::certify_first(*owner, run, identity.id(), unix_seconds() + kOwnMembershipSeconds);
            ATOLL_TRY(write_file(path, certificate->encode()));
        }
        if (certificate->member != identity.id()) {
            return Error{
                ErrorCode::refused,
                fmt::format("{} is the certificate of another node ({}), this one is {}", path.string(),
                            certificate->member.short_name(), identity.id().short_name())};
        }
        ATOLL_TRY(gossip::check_certificate(*certificate, {run, certificate->grant.owner},
                                            static_cast<double>(unix_seconds())));
        first = owner.ok() && owner->id() == certificate->grant.owner;
        return certificate;
    }

    std::string file_;
    NodeFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_node_command() { return std::make_unique<NodeCommand>(); }

}  // namespace Atoll::node
