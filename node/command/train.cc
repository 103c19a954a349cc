#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "base/log.h"
#include "node/command.h"
#include "node/config.h"
#include "node/model_folder.h"
#include "node/observe/report.h"
#include "node/ranks.h"
#include "node/train_loop.h"

namespace Atoll::node {

namespace {

// What must be equal for a run to be continued: everything agreed but its length, so that a run can be
// prolonged.
std::string lineage_of(federation::RunConfig run, const std::string& initial_model) {
    run.run.rounds = 1;
    run.schedule.steps = 1;
    run.schedule.warmup_steps = 0;
    return to_hex(blake2b(as_byte_view(federation::to_text(run) + initial_model)));
}

class TrainCommand : public Command {
  public:
    void declare(CLI::App& app) override {
        app.add_option("file", file_, "run file, as --config")->type_name("FILE");
        app.add_option("--data", data_, "folder of token shards (local.data)")->type_name("DIR");
        app.add_option("--steps", steps_, "length of the run in steps (schedule.steps)")
            ->check(CLI::PositiveNumber);
        app.add_option("--out", out_, "the run's folder (local.folder)")->type_name("DIR");
        app.add_option("--init", initial_model_, "begin from this model's parameters (local.initial_model)")
            ->type_name("DIR");
        app.add_option(
               "--resume-from", origin_,
               "go on from this checkpoint of another run, as atoll grow writes: parameters, optimizer, "
               "step and data position")
            ->type_name("DIR")
            ->excludes("--init");
        app.add_option("--trace", trace_, "write what was done when, for ui.perfetto.dev")->type_name("FILE");
        app.add_flag("--fresh", fresh_, "begin anew instead of continuing; overwrites nothing");
        app.add_flag("--overwrite", overwrite_, "with --fresh: delete the run in --out first");
    }

    bool watches_stop() const override { return true; }

    Result<Outcome> run(Session& session) override {
        ATOLL_ASSIGN(const auto config, configure(session.flags()));
        ATOLL_ASSIGN(const auto ranks, meet_ranks(*config, session));
        // Read everything before the run folder is made: a wrong input leaves nothing behind.
        auto part = make_shared_replica(*config, {}, *ranks);
        if (ranks->rank() != 0) return follow(part, *ranks);
        ATOLL_ASSIGN(Replica replica, std::move(part));
        std::filesystem::path origin;
        if (!origin_.empty()) {
            ATOLL_ASSIGN(origin, find_model(origin_));
        }
        ATOLL_ASSIGN(const bool begun, load_beginning(*config, *replica.trainer));
        if (!begun) {
            return Error{
                ErrorCode::invalid,
                fmt::format("run.initial_model = {}: this run begins with a model; give its folder with "
                            "--init",
                            config->run.run.initial_model)};
        }
        const LocalConfig& local = config->local;
        ATOLL_ASSIGN(RunFolder folder,
                     RunFolder::open({local.runs, local.folder, config->run.run.name, "local",
                                      lineage_of(config->run, config->local.initial_model + origin_), fresh_,
                                      overwrite_}));
        log::configure(session.flags().verbose ? log::Level::debug
                       : session.flags().quiet ? log::Level::error
                                               : log::Level::info,
                       local.log_file.empty() ? folder.log_file().string() : local.log_file);
        ATOLL_ASSIGN(const auto events, folder.events(local.tensorboard));
        Progress progress(session.flags().quiet);
        ChromeTrace trace;
        TrainLoop loop(*config, replica, folder, *events, progress);
        if (!trace_.empty()) loop.trace_into(trace);
        ATOLL_TRY(loop.resume(origin));
        ATOLL_TRY(folder.describe(*config, to_hex(federation::run_id(config->run)),
                                  origin_.empty() ? config->local.initial_model : origin_));
        progress.note(fmt::format("{}: {} bytes of state ({})", config->run.optimizer.name,
                                  replica.trainer->optimizer_state_bytes(), config->run.optimizer.state));
        progress.note(fmt::format("{} parameters, {} threads, {}", replica.trainer->layout().parameters(),
                                  replica.ops->threads(), folder.path().string()));
        const auto steps = static_cast<std::uint64_t>(federation::schedule_steps(config->run));
        const auto totals = loop.run(steps, session.stop());
        if (!totals.ok() && ranks->size() > 1)
            return with_newest_checkpoint(totals.error(), folder.checkpoints());
        if (!totals.ok()) return totals.error();
        if (!trace_.empty()) ATOLL_TRY(trace.write(trace_));
        return finish(session, *config, replica, folder, *totals);
    }

  private:
    Result<std::unique_ptr<Config>> configure(GlobalFlags flags) const {
        if (!file_.empty()) flags.config_file = file_;
        std::vector<Override> overrides;
        if (!data_.empty()) overrides.push_back({"local.data", data_, "--data"});
        if (!initial_model_.empty()) overrides.push_back({"local.initial_model", initial_model_, "--init"});
        if (!out_.empty()) overrides.push_back({"local.folder", out_, "--out"});
        if (steps_ > 0) overrides.push_back({"schedule.steps", std::to_string(steps_), "--steps"});
        if (overwrite_ && !(fresh_ && !out_.empty())) {
            return Error{ErrorCode::invalid,
                         "--overwrite goes with --fresh and --out: it deletes the run in that folder"};
        }
        if (steps_ > 0) {  // a short trial run should not fail for a warm-up that nobody chose
            const std::int64_t warmup = std::min(federation::RunConfig().schedule.warmup_steps, steps_ / 5);
            overrides.push_back({"schedule.warmup_steps", std::to_string(warmup), "--steps", true});
        }
        return load_config(flags, overrides);
    }

    static Result<Outcome> finish(Session& session, const Config& config, Replica& replica,
                                  const RunFolder& folder, const TrainTotals& totals) {
        const nlohmann::json object = {
            {"steps", replica.trainer->step()},
            {"tokens", totals.tokens},
            {"tokens_per_second",
             totals.seconds > 0 ? static_cast<double>(totals.tokens_here) / totals.seconds : 0},
            {"train_loss", totals.train_loss},
            {"val_loss", totals.val_loss},
            {"parameters", replica.trainer->layout().parameters()},
            {"peak_rss_bytes", peak_rss_bytes()},
            {"energy_joules", totals.energy_joules},
            {"energy_source", totals.energy_source},
            {"carbon_grams", carbon_grams(totals.energy_joules, config.local.power_usage_effectiveness,
                                          config.local.grid_grams_per_kwh)},
            {"checkpoint", totals.checkpoint},
            {"interrupted", totals.interrupted},
            {"run_folder", folder.path().string()},
        };
        ATOLL_TRY(folder.summarize(object.dump()));
        ATOLL_ASSIGN(const std::string page, make_report({folder.path()}));
        ATOLL_TRY(write_file(folder.path() / "report.html", std::string_view(page)));
        session.print(
            fmt::format("{} after {} steps, train loss {:.4f}, checkpoint {}",
                        totals.interrupted ? "stopped" : fmt::format("held-out loss {:.4f}", totals.val_loss),
                        replica.trainer->step(), totals.train_loss, totals.checkpoint));
        return Outcome{object.dump(), totals.interrupted ? exit_code(ErrorCode::interrupted) : 0};
    }

    std::string file_;
    std::string data_;
    std::string out_;
    std::string initial_model_;
    std::string origin_;
    std::string trace_;
    std::int64_t steps_ = 0;
    bool fresh_ = false;
    bool overwrite_ = false;
};

}  // namespace

std::unique_ptr<Command> make_train_command() { return std::make_unique<TrainCommand>(); }

}  // namespace Atoll::node
