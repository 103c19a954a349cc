#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/rng.h"
#include "model/architecture.h"
#include "model/grow.h"
#include "model/io/checkpoint.h"
#include "model/io/hf_folder.h"
#include "model/optim/moments.h"
#include "model/transformer.h"
#include "node/command.h"
#include "node/config.h"
#include "node/model_folder.h"
#include "node/training.h"

namespace Atoll::node {

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kPrompts = 8;           // whose next-token logits are compared
constexpr std::int64_t kPromptTokensMax = 32;  // the same function is the same on few tokens too

// Logits after each of a few random prompts: [kPrompts * V].
std::vector<float> probe(kernels::Ops& ops, const model::ModelConfig& config,
                         std::span<const float> parameters) {
    const std::int64_t length = std::min(config.context, kPromptTokensMax);
    model::Transformer transformer(ops, config, {.rows_max = length, .keep = model::Keep::nothing});
    const auto cells = static_cast<std::size_t>(config.layers * length * config.kv_heads * config.head_dim);
    const auto vocabulary = static_cast<std::size_t>(config.vocabulary);
    const auto device = ops.allocate(vocabulary);
    std::vector<float> logits(kPrompts * vocabulary);
    ops.weights_changed();
    for (std::size_t prompt = 0; prompt < kPrompts; ++prompt) {
        Rng rng = Rng(1).split("prompt", prompt);
        std::vector<std::int32_t> tokens(static_cast<std::size_t>(length));
        for (std::int32_t& token : tokens)
            token = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(config.vocabulary)));
        const auto keys = ops.allocate(cells), values = ops.allocate(cells);
        model::KvCache cache{.keys = keys.get(), .values = values.get(), .length_max = length};
        transformer.advance(parameters, tokens, cache, device.get());
        ops.copy_to_host(std::span(logits).subspan(prompt * vocabulary, vocabulary), device.get());
    }
    return logits;
}

// AdamW's moments in the format in which the checkpoint has them (optimizer.state), and what belongs to them.
struct GrownState {
    std::uint64_t step = 0;
    std::string state_json;
    model::Moments moments;
};

model::Moments adamw_moments(model::StateFormat format, const kernels::Layout& layout) {
    return {format, model::decay_ranges(layout), {{"m"}, {"v", model::Sign::positive}}};
}

model::StateFormat format_of(const model::Checkpoint& checkpoint) {
    if (checkpoint.has_vector("optimizer.m.bf16")) return model::StateFormat::bf16;
    if (checkpoint.has_vector("optimizer.m.int8")) return model::StateFormat::int8;
    return model::StateFormat::fp32;
}

// Of a checkpoint in the middle of a run; nothing if there are no such moments.
Result<std::optional<GrownState>> grow_moments(const fs::path& folder, const model::HfModel& from,
                                               const model::ModelConfig& to, const kernels::Layout& layout) {
    const auto checkpoint = model::Checkpoint::open(folder);
    if (!checkpoint) {
        if (checkpoint.error().code == ErrorCode::corrupt && fs::exists(folder / "DONE"))
            return checkpoint.error();
        return std::optional<GrownState>{};  // a plain Hugging Face folder
    }
    auto state = nlohmann::json::parse(checkpoint->state_json(), nullptr, false);
    if (!state.is_object() || state.value("optimizer", "") != "adamw" || checkpoint->step() == 0)
        return std::optional<GrownState>{};
    state["round"] = 0;

    const model::StateFormat format = format_of(*checkpoint);
    model::Moments small = adamw_moments(format, from.layout);
    for (const auto& vector : small.state())
        ATOLL_TRY(checkpoint->read_vector("optimizer." + vector.name, vector.values));
    GrownState grown{checkpoint->step(), state.dump(), adamw_moments(format, layout)};
    const auto step = static_cast<std::int64_t>(grown.step);
    constexpr std::array kMoments = {model::Moment::first, model::Moment::second};
    for (std::size_t k = 0; k < kMoments.size(); ++k) {
        kernels::FlatBuffer before(from.layout.size()), after(layout.size());
        small.visit(step, [&](const model::DecayRange& part, const model::Moments::Pointers& values) {
            std::copy_n(values[k], part.size, before.data() + part.offset);
        });
        model::grow_moment(from.config, to, kMoments[k], before.span(), after.span());
        grown.moments.visit(step, [&](const model::DecayRange& part, const model::Moments::Pointers& values) {
            std::copy_n(after.data() + part.offset, part.size, values[k]);
        });
    }
    return std::optional<GrownState>(std::move(grown));
}

// A trained model to a larger one: a folder of checkpoints for train --init, --resume-from and node --init.
class GrowCommand : public Command {
  public:
    void declare(CLI::App& app) override {
        app.add_option("--model", model_, "run folder, checkpoint or Hugging Face folder")
            ->required()
            ->type_name("DIR");
        app.add_option("--out", out_, "folder to make")->required()->type_name("DIR");
        const auto positive = CLI::Range(std::int64_t{1}, std::int64_t{1} << 30);
        app.add_option("--width", growth_.width, "a multiple of the model's width")->check(positive);
        app.add_option("--depth", growth_.layers, "a multiple of the model's layers")->check(positive);
        app.add_option("--inner", growth_.inner,
                       "a multiple of the MLP's hidden width (default: as the width)")
            ->check(positive);
        app.add_option("--noise-db", growth_.noise_db,
                       "signal to noise of what makes equal blocks differ, in dB; inf: none, they stay equal")
            ->capture_default_str();
    }

    Result<Outcome> run(Session& session) override {
        ATOLL_ASSIGN(const auto config, load_config(session.flags()));
        growth_.seed = static_cast<std::uint64_t>(config->run.run.seed);
        // First, so that the model is in memory that the device sees (kernels/flat.h).
        ATOLL_ASSIGN(const auto ops, kernels::make_ops(config->local.device, compute_threads(config->local)));
        ATOLL_ASSIGN(const fs::path folder, find_model(model_));
        ATOLL_ASSIGN(const model::HfModel small, model::import_hf(folder));
        ATOLL_ASSIGN(const model::ModelConfig to, model::grown_config(small.config, growth_));
        if (!model::list_checkpoints(out_).empty()) {
            return Error{
                ErrorCode::failed,
                fmt::format("{} holds checkpoints and is not overwritten: choose another --out", out_)};
        }
        const kernels::Layout layout = model::make_layout(to);
        kernels::FlatBuffer large(layout.size());
        model::grow_parameters<float>(small.config, to, growth_, small.parameters.span(), large.span());
        ATOLL_ASSIGN(auto moments, grow_moments(folder, small, to, layout));
        const double difference = compare(*ops, small, to, large.span());
        ATOLL_ASSIGN(const fs::path written, write(folder, to, layout, large.span(), moments));
        const std::string hash = to_hex(parameters_hash(layout, large.span()));
        session.print(fmt::format(
            "{} parameters grew to {} in {}; logits differ by {:.2g} at most; {}\nnext: {}",
            small.layout.parameters(), layout.parameters(), written.string(), difference,
            moments ? "AdamW's moments grew too" : "no moments of adamw to grow", next(moments.has_value())));
        return Outcome{nlohmann::json{
            {"path", written.string()},
            {"parameters_before", small.layout.parameters()},
            {"parameters_after", layout.parameters()},
            {"max_logit_difference", difference},
            {"optimizer_state", moments.has_value()},
            {"hash", hash}}.dump()};
    }

  private:
    static double compare(kernels::Ops& ops, const model::HfModel& small, const model::ModelConfig& to,
                          std::span<const float> large) {
        const std::vector<float> before = probe(ops, small.config, small.parameters.span());
        const std::vector<float> after = probe(ops, to, large);
        double difference = 0;
        for (std::size_t i = 0; i < before.size(); ++i)
            difference = std::max(difference,
                                  std::abs(static_cast<double>(before[i]) - static_cast<double>(after[i])));
        return difference;
    }

    Result<fs::path> write(const fs::path& from, const model::ModelConfig& to, const kernels::Layout& layout,
                           std::span<const float> parameters, std::optional<GrownState>& moments) const {
        std::error_code code;
        const fs::path tokenizer = from / "tokenizer.json";
        model::CheckpointContent content{.step = 0,
                                         .config = to,
                                         .layout = layout,
                                         .parameters = parameters,
                                         .tokenizer = fs::exists(tokenizer, code) ? tokenizer : "",
                                         .provenance = {{"grown_from", from.string()}}};
        if (moments) {
            content.step = moments->step;
            content.state_json = moments->state_json;
            for (const auto& vector : moments->moments.state())
                content.vectors.push_back({"optimizer." + vector.name, vector.values});
        }
        return model::save_checkpoint(out_, content, {});
    }

    [[nodiscard]] std::string next(bool moments) const {
        const std::string begin = "atoll train --init " + out_ + " with table model as in its config.json";
        return moments ? begin + ", or --resume-from to go on with its optimizer" : begin;
    }

    std::string model_;
    std::string out_;
    model::Growth growth_;
};

}  // namespace

std::unique_ptr<Command> make_grow_command() { return std::make_unique<GrowCommand>(); }

}  // namespace Atoll::node
