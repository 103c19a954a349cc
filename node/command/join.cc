#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "base/files.h"
#include "node/command.h"
#include "node/home.h"
#include "node/join.h"
#include "node/node_flags.h"

namespace Atoll::node {

namespace {

class JoinCommand : public Command {
  public:
    void declare(CLI::App& app) override {
        app.add_option("invite", text_, "the string, as atoll://...")->required();
        app.add_option("--data", flags_.data, "folder of token shards (local.data)")
            ->type_name("DIR")
            ->required();
        app.add_option("--wait", seconds_, "seconds to look for a member that lets us in")
            ->check(CLI::PositiveNumber);
        app.add_flag("--leave", leave_,
                     "a federated client: leave the run for good, taking back what the server counts of it");
        flags_.declare(app);
    }

    bool watches_stop() const override { return true; }

    Result<Outcome> run(Session& session) override {
        ATOLL_ASSIGN(const gossip::Invite invite, gossip::parse_invite(text_));
        ATOLL_ASSIGN(const Home home, Home::find(flags_.home));
        const Hash run = invite.grant.run;
        const auto run_file = home.run(run) / "run.toml";
        const auto certificate_file = home.run(run) / "certificate";
        bool created = false;
        ATOLL_ASSIGN(const gossip::Identity identity, load_or_create_identity(home.node_key(), created));
        if (created) session.note("new node key " + gossip::fingerprint(identity.id()));
        std::vector<Bytes> records;
        auto certificate = home.load_certificate(certificate_file);
        // Joined before, with this key: the string still says which run is meant.
        const bool member =
            certificate.ok() && certificate->member == identity.id() && std::filesystem::exists(run_file);
        if (!member) {
            const std::string name = flags_.name.empty() ? identity.id().short_name() : flags_.name;
            ATOLL_ASSIGN(const Joined joined,
                         join_run(invite, identity, home, name, seconds_, session.stop()));
            ATOLL_TRY(write_file(run_file, std::string_view(joined.run_config)));
            ATOLL_TRY(write_file(certificate_file, joined.certificate.encode()));
            certificate = joined.certificate;
            records = joined.records;
            session.note(fmt::format("a member of run {} now; members known: {}", to_hex(run).substr(0, 12),
                                     records.size()));
        }
        ATOLL_ASSIGN(const auto config,
                     load_config(session.flags(), run_file.string(), flags_.overrides(),
                                 [](const char* name) -> const char* { return std::getenv(name); }));
        if (federation::run_id(config->run) != run) {
            return Error{ErrorCode::invalid,
                         "--set, --seed or the environment changes what the run agreed on: only keys of "
                         "table local can be chosen "
                         "here"};
        }
        ATOLL_ASSIGN(const NodeResult result,
                     run_node({.config = *config,
                               .home = home,
                               .identity = identity,
                               .certificate = *certificate,
                               .records = std::move(records),
                               .fresh = flags_.fresh,
                               .leave = leave_,
                               .trace = flags_.trace},
                              session));
        return finish_node(result, session);
    }

  private:
    std::string text_;
    double seconds_ = 30;
    bool leave_ = false;
    NodeFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_join_command() { return std::make_unique<JoinCommand>(); }

}  // namespace Atoll::node
