#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "node/command.h"
#include "node/observe/report.h"

namespace Atoll::node {

namespace {

class ReportCommand : public Command {
  public:
    void declare(CLI::App& app) override {
        app.add_option("run_dirs", folders_, "run folders to show, side by side")
            ->required()
            ->type_name("RUN_DIR");
        app.add_option("--out", out_, "file to write (default: report.html in the first folder)")
            ->type_name("FILE");
    }

    Result<Outcome> run(Session& session) override {
        ATOLL_ASSIGN(const std::string page, make_report({folders_.begin(), folders_.end()}));
        const std::filesystem::path path = out_.empty()
                                               ? std::filesystem::path(folders_.front()) / "report.html"
                                               : std::filesystem::path(out_);
        ATOLL_TRY(write_file(path, std::string_view(page)));
        session.print(path.string());
        return Outcome{nlohmann::json{{"path", path.string()}}.dump()};
    }

  private:
    std::vector<std::string> folders_;
    std::string out_;
};

}  // namespace

std::unique_ptr<Command> make_report_command() { return std::make_unique<ReportCommand>(); }

}  // namespace Atoll::node
