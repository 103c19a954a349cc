// Text from a model folder: what generate prints and the demo shows at its end.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/result.h"
#include "base/stop.h"
#include "node/config.h"

namespace Atoll::node {

struct SampleRequest {
    std::string prompt;
    std::int64_t tokens = 200;
    double temperature = 0.8;
    std::uint64_t seed = 1;
};

struct Sample {
    std::string text;  // the continuation, without the prompt
    std::uint64_t tokens = 0;
    double tokens_per_second = 0;
};

// `model` as find_model() takes it. The folder's tokenizer.json decodes; without one a vocabulary of 256
// means bytes. Errors: no model or tokenizer, empty prompt. A stop ends the text early.
[[nodiscard]] Result<Sample> sample_text(const std::filesystem::path& model, const SampleRequest& request,
                                         const LocalConfig& local, const StopToken& stop);

}  // namespace Atoll::node
