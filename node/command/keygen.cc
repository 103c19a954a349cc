#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "node/command.h"
#include "node/home.h"

namespace Atoll::node {

namespace {

class KeygenCommand : public Command {
  public:
    void declare(CLI::App& app) override {
        app.add_flag("--owner", owner_, "a run owner's key instead of a node's: it lets others into runs");
        app.add_option("--out", out_, "the key file (default: node.key or owner.key of the home folder)")
            ->type_name("FILE");
        app.add_option("--home", home_, "home folder (default: $ATOLL_HOME, else ~/.atoll)")
            ->type_name("DIR");
    }

    Result<Outcome> run(Session& session) override {
        ATOLL_ASSIGN(const Home home, Home::find(home_));
        const std::filesystem::path path = !out_.empty() ? std::filesystem::path(out_)
                                           : owner_      ? home.owner_key()
                                                         : home.node_key();
        const gossip::Identity identity = gossip::Identity::generate();
        ATOLL_TRY(identity.save(path, owner_ ? "run owner key" : "node key"));
        const std::string fingerprint = gossip::fingerprint(identity.id());
        session.print(fmt::format("{}\n{}\n{}", fingerprint, identity.id().text(), path.string()));
        return Outcome{nlohmann::json{
            {"peer", identity.id().text()}, {"fingerprint", fingerprint}, {"path", path.string()}}
                           .dump()};
    }

  private:
    bool owner_ = false;
    std::string out_;
    std::string home_;
};

}  // namespace

std::unique_ptr<Command> make_keygen_command() { return std::make_unique<KeygenCommand>(); }

}  // namespace Atoll::node
