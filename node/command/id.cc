#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "node/command.h"
#include "node/home.h"

namespace Atoll::node {

namespace {

class IdCommand : public Command {
  public:
    void declare(CLI::App& app) override {
        app.add_option("--home", home_, "home folder (default: $ATOLL_HOME, else ~/.atoll)")
            ->type_name("DIR");
    }

    Result<Outcome> run(Session& session) override {
        ATOLL_ASSIGN(const Home home, Home::find(home_));
        auto identity = gossip::Identity::load(home.node_key());
        if (!identity) {
            if (identity.error().code != ErrorCode::not_found) return identity.error();
            return Error{ErrorCode::not_found,
                         fmt::format("no key in {}: make one with atoll keygen", home.node_key().string())};
        }
        const std::string fingerprint = gossip::fingerprint(identity->id());
        session.print(fmt::format("{}\n{}", fingerprint, identity->id().text()));
        return Outcome{nlohmann::json{
            {"peer", identity->id().text()}, {"fingerprint", fingerprint}, {"path", home.node_key().string()}}
                           .dump()};
    }

  private:
    std::string home_;
};

}  // namespace

std::unique_ptr<Command> make_id_command() { return std::make_unique<IdCommand>(); }

}  // namespace Atoll::node
