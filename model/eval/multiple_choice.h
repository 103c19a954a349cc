// Multiple choice (HellaSwag, MMLU ...) from files in llm.c's format: which of some completions of a context
// does the model find likeliest? The file's bytes: docs/reference/data.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

#include "base/result.h"
#include "model/transformer.h"

namespace Atoll::model {

struct Question {
    std::vector<std::int32_t> context;                   // at least one token
    std::vector<std::vector<std::int32_t>> completions;  // at least two, none empty
    std::size_t label = 0;                               // index of the right one
};

// Errors (corrupt): foreign magic or version, cut off, a count that does not fit; (invalid) a token that is
// not below `vocabulary`, so that the file is of another tokenizer. Each names the file and the question.
[[nodiscard]] Result<std::vector<Question>> read_questions(const std::filesystem::path& path,
                                                           std::int64_t vocabulary);

struct ChoiceScore {
    std::uint64_t questions = 0;
    std::uint64_t right = 0;         // the right completion has the least mean loss of a token
    std::uint64_t right_by_sum = 0;  // the least sum: favours short completions
    std::uint64_t shortened = 0;     // the model's context is too short: begins later
    double loss = 0;                 // mean over questions of the right completion's mean loss, nats
};

// Asks one question after the other, until `go_on` (told the score so far) says no: then the error is
// interrupted. The first of equal losses counts. Errors (invalid): a completion longer than the model's
// context. Precondition: transformer.forward() takes config().context rows.
[[nodiscard]] Result<ChoiceScore> answer_questions(Transformer& transformer,
                                                   std::span<const float> parameters,
                                                   std::span<const Question> questions,
                                                   const std::function<bool(const ChoiceScore&)>& go_on);

}  // namespace Atoll::model
