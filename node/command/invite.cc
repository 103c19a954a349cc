#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "node/command.h"
#include "node/duration.h"
#include "node/home.h"

namespace Atoll::node {

namespace {

double unix_time() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

class InviteCommand : public Command {
  public:
    void declare(CLI::App& app) override {
        app.add_option("--address", addresses_,
                       "where newcomers find this node, as tcp://host:port (repeatable)");
        app.add_option("--uses", uses_, "how many machines may join with it")
            ->check(CLI::Range(1, 1'000'000));
        app.add_option("--expires", expires_, "how long it can be used: 90s, 30m, 24h, 7d");
        app.add_option("--member-for", member_for_, "how long those who join stay members");
        app.add_option("--role", role_, "what those who join are")->check(CLI::IsMember({"peer", "client"}));
        app.add_option("--home", home_, "home folder (default: $ATOLL_HOME, else ~/.atoll)")
            ->type_name("DIR");
        inspect_ = app.add_subcommand("inspect", "an invite in words");
        inspect_->add_option("invite", text_, "the string, as atoll://...")->required();
    }

    Result<Outcome> run(Session& session) override {
        return inspect_->parsed() ? inspect(session) : issue(session);
    }

  private:
    Result<Outcome> inspect(Session& session) const {
        ATOLL_ASSIGN(const gossip::Invite invite, gossip::parse_invite(text_));
        const gossip::InviteSummary summary = gossip::summarize(invite, unix_time());
        session.print(fmt::format(
            "run      {}\nowner    {}\nrole     {}\nuses     {}\nexpires  {}{}\nmember   until {}",
            summary.run, summary.owner, summary.role, summary.uses, summary.expires,
            summary.expired ? " (expired)" : "", summary.member_until));
        for (const std::string& address : summary.addresses) session.print("contact  " + address);
        return Outcome{nlohmann::json{{"run", summary.run},
                                      {"owner", summary.owner},
                                      {"role", summary.role},
                                      {"uses", summary.uses},
                                      {"expires", summary.expires},
                                      {"expired", summary.expired},
                                      {"member_until", summary.member_until},
                                      {"addresses", summary.addresses}}
                           .dump()};
    }

    Result<Outcome> issue(Session& session) const {
        GlobalFlags flags = session.flags();
        if (flags.config_file.empty() && std::filesystem::exists("run.toml")) flags.config_file = "run.toml";
        if (flags.config_file.empty()) {
            return Error{ErrorCode::invalid, "which run? Give its file: atoll invite --config run.toml"};
        }
        ATOLL_ASSIGN(const auto config, load_config(flags, {}));
        ATOLL_ASSIGN(const Home home, Home::find(home_));
        auto owner = gossip::Identity::load(home.owner_key(*config));
        if (!owner) {
            return Error{owner.error().code,
                         fmt::format("{}; only the run's owner can invite, where the run was begun",
                                     owner.error().message)};
        }
        bool created = false;
        ATOLL_ASSIGN(const gossip::Identity node, load_or_create_identity(home.node_key(*config), created));
        ATOLL_ASSIGN(const std::uint64_t seconds, parse_duration(expires_));
        ATOLL_ASSIGN(const std::uint64_t member_seconds, parse_duration(member_for_));
        const auto now = static_cast<std::uint64_t>(unix_time());
        gossip::InviteTerms terms{.run = federation::run_id(config->run),
                                  .role = role_ == "client" ? gossip::Role::client : gossip::Role::peer,
                                  .uses = static_cast<std::uint32_t>(uses_),
                                  .join_before = now + seconds,
                                  .member_until = now + std::max(seconds, member_seconds)};
        ATOLL_ASSIGN(const std::vector<std::string> addresses, contact_addresses(*config, home, terms.run));
        for (const std::string& address : addresses) terms.contacts.push_back({node.id(), address});
        ATOLL_ASSIGN(const gossip::Invite invite, gossip::issue_invite(*owner, terms));
        ATOLL_TRY(gossip::append_grant(home.invites(terms.run), invite.grant));
        const std::string text = invite.text();
        session.print(text);
        session.note(fmt::format("good for {} machine{} until {}; there: atoll join '{}' --data DIR", uses_,
                                 uses_ == 1 ? "" : "s", gossip::utc_text(terms.join_before), text));
        return Outcome{nlohmann::json{
            {"invite", text},
            {"run", to_hex(terms.run)},
            {"expires", gossip::utc_text(terms.join_before)},
            {"uses", uses_},
            {"role", role_},
            {"addresses",
             addresses}}.dump()};
    }

    // As given, as configured, or where the node that runs from this home says it listens.
    Result<std::vector<std::string>> contact_addresses(const Config& config, const Home& home,
                                                       const Hash& run) const {
        std::vector<std::string> given = addresses_;
        if (given.empty() && !config.local.announce.empty()) given.push_back(config.local.announce);
        if (given.empty()) {
            const auto running = home.load_running();
            if (running && running->run == to_hex(run) && !running->address.empty())
                given.push_back(running->address);
        }
        if (given.empty() && !config.local.listen.ends_with(":0")) given.push_back(config.local.listen);
        if (given.empty()) {
            return Error{ErrorCode::invalid,
                         "where will newcomers find this node? Start it first (atoll node), or give "
                         "--address tcp://host:port"};
        }
        std::vector<std::string> addresses;
        for (const std::string& text : given) {
            ATOLL_ASSIGN(const gossip::Address address, gossip::parse_address(text));
            addresses.push_back(address.text());
        }
        return addresses;
    }

    CLI::App* inspect_ = nullptr;
    std::string text_;
    std::vector<std::string> addresses_;
    std::int64_t uses_ = 1;
    std::string expires_ = "24h";
    std::string member_for_ = "365d";
    std::string role_ = "peer";
    std::string home_;
};

}  // namespace

std::unique_ptr<Command> make_invite_command() { return std::make_unique<InviteCommand>(); }

}  // namespace Atoll::node
