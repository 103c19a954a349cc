#include "model/eval/multiple_choice.h"

#include <fmt/core.h>

#include <bit>
#include <cstring>
#include <limits>

#include "base/files.h"

namespace Atoll::model {

namespace {

static_assert(std::endian::native == std::endian::little, "files are read in place, little-endian");

constexpr std::int32_t kMagic = 20240522;
constexpr std::int32_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 256 * sizeof(std::int32_t);
constexpr std::uint16_t kBegin = 65535;  // of a question

// The 16-bit numbers after the header, each looked at once.
class Numbers {
  public:
    explicit Numbers(ByteView bytes) : bytes_(bytes) {}
    [[nodiscard]] std::size_t left() const { return (bytes_.size() - at_) / sizeof(std::uint16_t); }
    [[nodiscard]] std::size_t position() const { return at_; }
    // Precondition: left() > 0.
    std::uint16_t next() {
        std::uint16_t value = 0;
        std::memcpy(&value, bytes_.data() + at_, sizeof value);
        at_ += sizeof value;
        return value;
    }
    // A count and as many tokens; false if they are not all there.
    [[nodiscard]] bool tokens(std::vector<std::int32_t>& out) {
        if (left() == 0) return false;
        const std::size_t count = next();
        if (count > left()) return false;
        out.reserve(count);
        for (std::size_t i = 0; i < count; ++i) out.push_back(next());
        return true;
    }

  private:
    ByteView bytes_;
    std::size_t at_ = 0;
};

// The fault, in words; empty: none.
std::string read_question(Numbers& numbers, Question& question) {
    constexpr std::size_t kFixed = 5;  // begin, bytes, index, label, completions
    const std::size_t start = numbers.position();
    if (numbers.left() < kFixed) return "the file ends within it";
    if (numbers.next() != kBegin) return "it does not begin with 65535";
    const std::size_t bytes = numbers.next();
    (void)numbers.next();  // its index in the data set
    question.label = numbers.next();
    const std::size_t completions = numbers.next();
    if (completions < 2 || question.label >= completions)
        return fmt::format("label {} of {} completions", question.label, completions);
    if (!numbers.tokens(question.context)) return "the file ends within its context";
    if (question.context.empty()) return "its context is empty";
    for (std::size_t i = 0; i < completions; ++i) {
        if (!numbers.tokens(question.completions.emplace_back()))
            return fmt::format("the file ends within completion {}", i);
        if (question.completions.back().empty()) return fmt::format("completion {} is empty", i);
    }
    if (numbers.position() - start != bytes)
        return fmt::format("it says it has {} bytes and has {}", bytes, numbers.position() - start);
    return {};
}

// The largest token of a question.
std::int32_t largest_token(const Question& question) {
    std::int32_t largest = 0;
    for (const std::int32_t token : question.context) largest = std::max(largest, token);
    for (const auto& completion : question.completions) {
        for (const std::int32_t token : completion) largest = std::max(largest, token);
    }
    return largest;
}

// Context and completion as one sequence whose targets are the completion's tokens. `dropped` tokens are left
// out of the beginning.
TokenBatch row_of(const Question& question, const std::vector<std::int32_t>& completion,
                  std::size_t dropped) {
    std::vector<std::int32_t> tokens(question.context.begin() + static_cast<std::ptrdiff_t>(dropped),
                                     question.context.end());
    const std::size_t context = tokens.size();
    tokens.insert(tokens.end(), completion.begin(), completion.end());
    TokenBatch row{.batch = 1, .sequence = static_cast<std::int64_t>(tokens.size()) - 1};
    row.inputs.assign(tokens.begin(), tokens.end() - 1);
    row.targets.assign(tokens.begin() + 1, tokens.end());
    std::fill_n(row.targets.begin(), context - 1, -1);
    return row;
}

}  // namespace

Result<std::vector<Question>> read_questions(const std::filesystem::path& path, std::int64_t vocabulary) {
    ATOLL_ASSIGN(const MappedFile file, MappedFile::open(path));
    const ByteView bytes = file.view();
    const auto corrupt = [&](const std::string& what) {
        return Error{ErrorCode::corrupt, fmt::format("{}: {}", path.string(), what)};
    };
    std::int32_t header[3] = {};
    if (bytes.size() < kHeaderBytes)
        return corrupt("shorter than the header of 1024 bytes: not an llm.c evaluation");
    std::memcpy(header, bytes.data(), sizeof header);
    if (header[0] != kMagic || header[1] != kVersion) {
        return corrupt(
            fmt::format("magic {}, version {}: expected {} and {}, an evaluation in llm.c's format",
                        header[0], header[1], kMagic, kVersion));
    }
    Numbers numbers(bytes.subspan(kHeaderBytes));
    std::vector<Question> questions;
    for (std::int32_t i = 0; i < header[2]; ++i) {
        if (const std::string fault = read_question(numbers, questions.emplace_back()); !fault.empty())
            return corrupt(fmt::format("question {}: {}", i, fault));
        if (const std::int32_t token = largest_token(questions.back()); token >= vocabulary) {
            return Error{
                ErrorCode::invalid,
                fmt::format("{}: question {} has token {}, the model's vocabulary is {}: the file was "
                            "made with another tokenizer",
                            path.string(), i, token, vocabulary)};
        }
    }
    if (questions.empty()) return corrupt("no questions");
    if (numbers.position() != bytes.size() - kHeaderBytes) return corrupt("bytes after the last question");
    return questions;
}

Result<ChoiceScore> answer_questions(Transformer& transformer, std::span<const float> parameters,
                                     std::span<const Question> questions,
                                     const std::function<bool(const ChoiceScore&)>& go_on) {
    const auto room =
        static_cast<std::size_t>(transformer.config().context) + 1;  // the last is only a target
    ChoiceScore score;
    for (const Question& question : questions) {
        std::size_t best = 0, best_by_sum = 0;
        double least = std::numeric_limits<double>::infinity(), least_sum = least, right_loss = 0;
        bool shortened = false;
        for (std::size_t i = 0; i < question.completions.size(); ++i) {
            const auto& completion = question.completions[i];
            if (completion.size() >= room) {
                return Error{
                    ErrorCode::invalid,
                    fmt::format("question {}: a completion of {} tokens does not fit into the model's "
                                "context of {}",
                                score.questions, completion.size(), room - 1)};
            }
            const std::size_t length = question.context.size() + completion.size();
            const std::size_t dropped = length > room ? length - room : 0;
            shortened = shortened || dropped > 0;
            const double loss = transformer.forward(parameters, row_of(question, completion, dropped));
            const double sum = loss * static_cast<double>(completion.size());
            if (loss < least) least = loss, best = i;
            if (sum < least_sum) least_sum = sum, best_by_sum = i;
            if (i == question.label) right_loss = loss;
        }
        score.right += best == question.label ? 1 : 0;
        score.right_by_sum += best_by_sum == question.label ? 1 : 0;
        score.shortened += shortened ? 1 : 0;
        ++score.questions;
        score.loss += (right_loss - score.loss) / static_cast<double>(score.questions);
        if (!go_on(score)) return Error{ErrorCode::interrupted, "interrupted: nothing was written"};
    }
    return score;
}

}  // namespace Atoll::model
