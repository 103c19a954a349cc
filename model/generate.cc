#include "model/generate.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace Atoll::model {

namespace {

Status check(std::span<const std::int32_t> prompt, const GenerateOptions& options, std::int64_t vocabulary) {
    if (prompt.empty()) return Error{ErrorCode::invalid, "the prompt has no tokens: give at least one"};
    for (const std::int32_t id : prompt) {
        if (id >= 0 && id < vocabulary) continue;
        return Error{ErrorCode::invalid,
                     fmt::format("token id {} of the prompt is outside the model's vocabulary of {}: "
                                 "use the model's own tokenizer",
                                 id, vocabulary)};
    }
    if (!(options.temperature >= 0 && options.temperature < 1e6)) {
        return Error{ErrorCode::invalid,
                     fmt::format("temperature = {}: expected 0 or more", options.temperature)};
    }
    if (options.vocabulary < 0 || options.vocabulary > vocabulary) {
        return Error{ErrorCode::invalid,
                     fmt::format("the tokenizer has {} ids, the model only {}: it belongs to another model",
                                 options.vocabulary, vocabulary)};
    }
    return {};
}

}  // namespace

std::int32_t sample(std::span<const float> logits, double temperature, double uniform) {
    const auto largest = std::max_element(logits.begin(), logits.end());
    const auto likeliest = static_cast<std::int32_t>(largest - logits.begin());
    if (temperature == 0) return likeliest;
    const auto weight = [&](float logit) {
        return std::exp((static_cast<double>(logit) - *largest) / temperature);
    };
    double total = 0;
    for (const float logit : logits) total += weight(logit);
    double left = uniform * total;
    for (std::size_t id = 0; id < logits.size(); ++id) {
        left -= weight(logits[id]);
        if (left < 0) return static_cast<std::int32_t>(id);
    }
    return likeliest;  // rounding left nothing to draw from
}

Generator::Generator(kernels::Ops& ops, const ModelConfig& config, std::span<const float> parameters)
    : ops_(ops),
      transformer_(ops, config, {.rows_max = config.context, .keep = Keep::nothing}),
      parameters_(parameters),
      cache_floats_(
          static_cast<std::size_t>(config.layers * config.context * config.kv_heads * config.head_dim)),
      keys_(ops.allocate(cache_floats_)),
      values_(ops.allocate(cache_floats_)),
      device_logits_(ops.allocate(static_cast<std::size_t>(config.vocabulary))),
      logits_(static_cast<std::size_t>(config.vocabulary)),
      cache_{.keys = keys_.get(), .values = values_.get(), .length = 0, .length_max = config.context} {}

void Generator::reset() {
    ops_.fill(cache_.keys, 0, cache_floats_);
    ops_.fill(cache_.values, 0, cache_floats_);
    cache_.length = 0;
}

void Generator::advance(std::span<const std::int32_t> tokens) {
    transformer_.advance(parameters_, tokens, cache_, device_logits_.get());
    ops_.copy_to_host(logits_, device_logits_.get());
}

Result<std::vector<std::int32_t>> Generator::generate(std::span<const std::int32_t> prompt,
                                                      const GenerateOptions& options,
                                                      const std::function<bool(std::int32_t)>& on_token) {
    const ModelConfig& config = transformer_.config();
    ATOLL_TRY(check(prompt, options, config.vocabulary));
    const auto allowed =
        static_cast<std::size_t>(options.vocabulary > 0 ? options.vocabulary : config.vocabulary);
    const auto context = static_cast<std::size_t>(config.context);
    Rng rng = Rng(options.seed).split("generate");
    std::vector<std::int32_t> text(prompt.begin(), prompt.end());
    reset();
    advance(std::span<const std::int32_t>(text).last(std::min(text.size(), context)));
    for (std::int64_t i = 0; i < options.tokens; ++i) {
        const std::span<const float> logits = std::span<const float>(logits_).first(allowed);
        if (!std::all_of(logits.begin(), logits.end(), [](float logit) { return std::isfinite(logit); })) {
            return Error{ErrorCode::failed,
                         "the model's logits are not finite: its parameters are damaged or diverged"};
        }
        const std::int32_t next = sample(logits, options.temperature, rng.uniform());
        if (next == options.stop_token) break;
        text.push_back(next);
        if ((on_token && !on_token(next)) || i + 1 == options.tokens) break;
        if (cache_.length < cache_.length_max) {
            advance(std::span<const std::int32_t>(text).last(1));
        } else {
            reset();
            advance(std::span<const std::int32_t>(text).last(std::max<std::size_t>(context / 2, 1)));
        }
    }
    text.erase(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(prompt.size()));
    return text;
}

}  // namespace Atoll::model
