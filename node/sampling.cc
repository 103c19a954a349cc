#include "node/sampling.h"

#include <fmt/core.h>

#include <chrono>

#include "kernels/ops.h"
#include "model/generate.h"
#include "model/io/hf_folder.h"
#include "node/model_folder.h"

namespace Atoll::node {

Result<Sample> sample_text(const std::filesystem::path& model_path, const SampleRequest& request,
                           const LocalConfig& local, const StopToken& stop) {
    // First, so that the model is in memory that the device sees (kernels/flat.h).
    ATOLL_ASSIGN(const auto ops, kernels::make_ops(local.device, compute_threads(local)));
    ATOLL_ASSIGN(const auto folder, find_model(model_path));
    ATOLL_ASSIGN(const model::HfModel model, model::import_hf(folder));
    ATOLL_ASSIGN(const auto tokenizer, tokenizer_of(folder, model.config.vocabulary));
    ATOLL_ASSIGN(const auto prompt, tokenizer->encode(request.prompt));
    model::Generator generator(*ops, model.config, model.parameters.span());
    const model::GenerateOptions options{
        .tokens = request.tokens,
        .temperature = request.temperature,
        .seed = request.seed,
        .vocabulary = std::min(tokenizer->vocabulary(), model.config.vocabulary),
        .stop_token = tokenizer->end_of_text().value_or(-1)};
    const auto begin = std::chrono::steady_clock::now();
    ATOLL_ASSIGN(const auto ids,
                 generator.generate(prompt, options, [&](std::int32_t) { return !stop.requested(); }));
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return Sample{tokenizer->decode(ids), ids.size(),
                  seconds > 0 ? static_cast<double>(ids.size()) / seconds : 0};
}

}  // namespace Atoll::node
