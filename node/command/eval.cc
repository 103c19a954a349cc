#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "kernels/ops.h"
#include "model/data/loader.h"
#include "model/eval/held_out.h"
#include "model/eval/multiple_choice.h"
#include "model/io/hf_folder.h"
#include "model/transformer.h"
#include "node/command.h"
#include "node/config.h"
#include "node/model_folder.h"
#include "node/observe/progress.h"

namespace Atoll::node {

namespace {

// A model on held-out text, on questions with several answers, or on both.
class EvalCommand : public Command {
  public:
    void declare(CLI::App& app) override {
        app.add_option("--model", model_, "run folder, checkpoint or Hugging Face folder")
            ->required()
            ->type_name("DIR");
        app.add_option("--data", data_, "folder of token shards: loss, perplexity, bits per byte")
            ->type_name("DIR");
        app.add_option("--questions", questions_, "multiple choice in llm.c's format (.bin): accuracy")
            ->type_name("FILE");
        app.add_option("--batches", batches_, "held-out batches at most; 0: all")
            ->capture_default_str()
            ->check(CLI::NonNegativeNumber);
    }

    bool watches_stop() const override { return true; }

    Result<Outcome> run(Session& session) override {
        if (data_.empty() && questions_.empty()) {
            return Error{ErrorCode::invalid,
                         "nothing to evaluate on: expected --data DIR (token shards), --questions FILE "
                         "(multiple choice), or both"};
        }
        ATOLL_ASSIGN(const auto config, load_config(session.flags()));
        // First, so that the model is in memory that the device sees (kernels/flat.h).
        ATOLL_ASSIGN(const auto ops, kernels::make_ops(config->local.device, compute_threads(config->local)));
        ATOLL_ASSIGN(const auto folder, find_model(model_));
        ATOLL_ASSIGN(const model::HfModel model, model::import_hf(folder));
        nlohmann::json object = {{"model", folder.string()}};
        if (!data_.empty()) ATOLL_TRY(predict(session, *config, folder, model, *ops, object));
        if (!questions_.empty()) ATOLL_TRY(answer(session, model, *ops, object));
        return Outcome{object.dump()};
    }

  private:
    Status predict(Session& session, const Config& config, const std::filesystem::path& folder,
                   const model::HfModel& model, kernels::Ops& ops, nlohmann::json& object) const {
        model::LoaderOptions source;
        source.source = data_;
        source.vocabulary = model.config.vocabulary;
        source.held_out = config.run.data.held_out;
        ATOLL_ASSIGN(const auto loader, model::Loader::open(source));
        model::TokenBatch batch{config.run.optimizer.batch_sequences, model.config.context, {}, {}};
        if (loader->held_out_count(batch.batch, batch.sequence) == 0) batch.batch = 1;
        std::uint64_t count = loader->held_out_count(batch.batch, batch.sequence);
        if (count == 0) {
            return Error{ErrorCode::failed,
                         fmt::format("{}: fewer than {} held-out tokens; data.held_out = {}", data_,
                                     batch.sequence + 1, source.held_out)};
        }
        if (batches_ > 0) count = std::min(count, static_cast<std::uint64_t>(batches_));
        // A model without a tokenizer has no bytes; everything else is measured all the same.
        const auto tokenizer = tokenizer_of(folder, model.config.vocabulary);
        model::Transformer transformer(
            ops, model.config, {.rows_max = batch.batch * batch.sequence, .keep = model::Keep::nothing});
        Progress progress(session.flags().quiet);
        ATOLL_ASSIGN(const model::HeldOutScore score,
                     model::score_held_out(transformer, model.parameters.span(), *loader, batch, count,
                                           tokenizer.ok() ? tokenizer->get() : nullptr,
                                           [&](const model::HeldOutScore& so_far) {
                                               progress.show(fmt::format("{} of {} batches, loss {:.4f}",
                                                                         so_far.batches, count, so_far.loss));
                                               return !session.stop().requested();
                                           }));
        object["loss"] = score.loss;
        object["perplexity"] = score.perplexity();
        object["tokens"] = score.tokens;
        object["bits_per_byte"] = score.bytes > 0 ? nlohmann::json(score.bits_per_byte()) : nlohmann::json();
        session.print(fmt::format(
            "loss {:.4f} nats per token, perplexity {:.3f}{}, over {} tokens", score.loss, score.perplexity(),
            score.bytes > 0 ? fmt::format(", {:.4f} bits per byte", score.bits_per_byte())
                            : " (bits per byte need the model's tokenizer.json)",
            score.tokens));
        return {};
    }

    Status answer(Session& session, const model::HfModel& model, kernels::Ops& ops,
                  nlohmann::json& object) const {
        ATOLL_ASSIGN(const auto questions, model::read_questions(questions_, model.config.vocabulary));
        model::Transformer transformer(ops, model.config,
                                       {.rows_max = model.config.context, .keep = model::Keep::nothing});
        Progress progress(session.flags().quiet);
        const auto fraction = [](std::uint64_t right, std::uint64_t all) {
            return static_cast<double>(right) / static_cast<double>(all);
        };
        ATOLL_ASSIGN(
            const model::ChoiceScore score,
            model::answer_questions(
                transformer, model.parameters.span(), questions, [&](const model::ChoiceScore& so_far) {
                    progress.show(fmt::format("{} of {} questions, {:.1f}% right", so_far.questions,
                                              questions.size(),
                                              100 * fraction(so_far.right, so_far.questions)));
                    return !session.stop().requested();
                }));
        object["questions"] = score.questions;
        object["accuracy"] = fraction(score.right, score.questions);
        object["accuracy_by_sum"] = fraction(score.right_by_sum, score.questions);
        object["questions_shortened"] = score.shortened;
        object["answer_loss"] = score.loss;
        session.print(fmt::format("{} of {} questions right ({:.1f}%), {} by the sum of losses{}",
                                  score.right, score.questions, 100 * fraction(score.right, score.questions),
                                  score.right_by_sum,
                                  score.shortened > 0 ? fmt::format("; {} begin later than in the file: the "
                                                                    "model's context is too short",
                                                                    score.shortened)
                                                      : ""));
        return {};
    }

    std::string model_;
    std::string data_;
    std::string questions_;
    std::int64_t batches_ = 0;
};

}  // namespace

std::unique_ptr<Command> make_eval_command() { return std::make_unique<EvalCommand>(); }

}  // namespace Atoll::node
