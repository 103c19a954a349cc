// Byte-level byte-pair encoding: the model as data, the tokenizer made from it, and its tokenizer.json.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/tokenizer/merges.h"
#include "model/tokenizer/tokenizer.h"

namespace Atoll::model {

struct BpeModel {
    struct Special {
        std::int32_t id = 0;
        std::string text;
    };

    std::vector<std::string> tokens;           // by id, as raw bytes; an id that is not used is empty
    std::array<std::int32_t, 256> byte_ids{};  // the token of each single byte, -1 where there is none
    std::vector<Merge> merges;                 // by rank
    std::vector<std::string> patterns;         // of the pre-tokenizer (pretokenize.h)
    std::vector<Special> specials;             // their text is cut out of the input before all else
    bool ignore_merges = false;                // a pre-token that is a token is emitted whole (Llama 3)
    std::optional<std::int32_t> end_of_text;
    std::string source_json;  // the tokenizer.json it was read from; empty: written from the fields above
};

// One token a byte (id = byte), no merges, no patterns.
[[nodiscard]] BpeModel byte_level_model();

// Errors (invalid): a pattern does not compile.
[[nodiscard]] Result<std::unique_ptr<Tokenizer>> make_bpe_tokenizer(BpeModel model);

[[nodiscard]] std::string bpe_to_json(const BpeModel& model);

}  // namespace Atoll::model
