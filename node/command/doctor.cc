#include "node/doctor.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "node/command.h"

namespace Atoll::node {

namespace {

class DoctorCommand : public Command {
  public:
    void declare(CLI::App& /*app*/) override {}

    Result<Outcome> run(Session& session) override {
        bool works = true;
        nlohmann::json checks = nlohmann::json::array();
        for (const CheckResult& check : examine_machine()) {
            works = works && check.status != "fail";
            session.print(fmt::format("{:<5} {:<23} {}", check.status, check.name, check.detail));
            if (!check.fix.empty()) session.print(fmt::format("{:<29} -> {}", "", check.fix));
            checks.push_back({{"name", check.name},
                              {"status", check.status},
                              {"detail", check.detail},
                              {"fix", check.fix}});
        }
        return Outcome{nlohmann::json{{"checks", std::move(checks)}}.dump(
                           -1, ' ', false, nlohmann::json::error_handler_t::replace),
                       works ? 0 : 1};
    }
};

}  // namespace

std::unique_ptr<Command> make_doctor_command() { return std::make_unique<DoctorCommand>(); }

}  // namespace Atoll::node
