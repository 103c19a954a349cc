#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/ops.h"
#include "model/data/loader.h"
#include "model/io/hf_folder.h"
#include "model/transformer.h"
#include "node/command.h"
#include "node/config.h"
#include "node/model_folder.h"
#include "node/observe/progress.h"

namespace Atoll::node {

namespace {

// Mean held-out loss of a model on a folder of shards.
class EvalCommand : public Command {
  public:
    void declare(CLI::App& app) override {
        app.add_option("--model", model_, "run folder, checkpoint or Hugging Face folder")
            ->required()
            ->type_name("DIR");
        app.add_option("--data", data_, "folder of token shards")->required()->type_name("DIR");
        app.add_option("--batches", batches_, "held-out batches at most; 0: all")
            ->capture_default_str()
            ->check(CLI::NonNegativeNumber);
    }

    bool watches_stop() const override { return true; }

    Result<Outcome> run(Session& session) override {
        ATOLL_ASSIGN(const auto config, load_config(session.flags()));
        // First, so that the model is in memory that the device sees (kernels/flat.h).
        ATOLL_ASSIGN(const auto ops, kernels::make_ops(config->local.device, compute_threads(config->local)));
        ATOLL_ASSIGN(const auto folder, find_model(model_));
        ATOLL_ASSIGN(const model::HfModel model, model::import_hf(folder));
        model::LoaderOptions source;
        source.source = data_;
        source.vocabulary = model.config.vocabulary;
        source.held_out = config->run.data.held_out;
        ATOLL_ASSIGN(const auto loader, model::Loader::open(source));

        model::TokenBatch batch{config->run.optimizer.batch_sequences, model.config.context, {}, {}};
        if (loader->held_out_count(batch.batch, batch.sequence) == 0) batch.batch = 1;
        std::uint64_t count = loader->held_out_count(batch.batch, batch.sequence);
        if (count == 0) {
            return Error{ErrorCode::failed,
                         fmt::format("{}: fewer than {} held-out tokens; data.held_out = {}", data_,
                                     batch.sequence + 1, source.held_out)};
        }
        if (batches_ > 0) count = std::min(count, static_cast<std::uint64_t>(batches_));
        model::Transformer transformer(*ops, model.config, {.rows_max = batch.batch * batch.sequence});
        Progress progress(session.flags().quiet);
        double sum = 0;
        for (std::uint64_t i = 0; i < count; ++i) {
            if (session.stop().requested())
                return Error{ErrorCode::interrupted, "interrupted: nothing was written"};
            ATOLL_TRY(loader->held_out(i, batch));
            sum += transformer.forward(model.parameters.span(), batch);
            progress.show(
                fmt::format("{} of {} batches, loss {:.4f}", i + 1, count, sum / static_cast<double>(i + 1)));
        }
        const double loss = sum / static_cast<double>(count);
        const auto tokens = count * static_cast<std::uint64_t>(batch.batch * batch.sequence);
        session.print(fmt::format("loss {:.4f} nats per token, perplexity {:.3f}, over {} tokens", loss,
                                  std::exp(loss), tokens));
        return Outcome{nlohmann::json{
            {"loss", loss}, {"perplexity", std::exp(loss)}, {"tokens", tokens}, {"model", folder.string()}}
                           .dump()};
    }

  private:
    std::string model_;
    std::string data_;
    std::int64_t batches_ = 0;
};

}  // namespace

std::unique_ptr<Command> make_eval_command() { return std::make_unique<EvalCommand>(); }

}  // namespace Atoll::node
