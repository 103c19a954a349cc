// Hugging Face's config.json and a ModelConfig: one and the same shape in two forms.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "model/config.h"

namespace Atoll::model {

// Model types gpt2, llama and qwen3 (a llama with normalised q and k). Errors: not JSON, a size that is
// missing or no number, an option that would make the model compute something else (names it and its value).
[[nodiscard]] Result<ModelConfig> config_from_hf(const std::string& json_text, const std::string& origin);

// `end_of_text`: the id that starts and ends documents, if there is one. `dtype`: as in "float32".
[[nodiscard]] std::string config_to_hf(const ModelConfig& config, std::optional<std::int32_t> end_of_text,
                                       const std::string& dtype);

}  // namespace Atoll::model
