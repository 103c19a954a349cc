#include "model/tokenizer/pretokenize.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/core.h>
#include <pcre2.h>

#include <algorithm>
#include <array>

namespace Atoll::model {

namespace {

struct Release {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
    void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
    void operator()(pcre2_jit_stack* stack) const { pcre2_jit_stack_free(stack); }
};
template <typename T>
using Owned = std::unique_ptr<T, Release>;

constexpr std::size_t kJitStackBytesMax = std::size_t{8} << 20U;

std::string message_of(int code) {
    std::array<PCRE2_UCHAR, 256> text{};
    pcre2_get_error_message(code, text.data(), text.size());
    return reinterpret_cast<const char*>(text.data());
}

bool starts_character(char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }

}  // namespace

struct Pretokenizer::Pattern {
    Owned<pcre2_code> code;

    Status split(std::string_view text, std::vector<std::string_view>& pieces) const;
};

Pretokenizer::Pretokenizer() = default;
Pretokenizer::Pretokenizer(Pretokenizer&&) noexcept = default;
Pretokenizer& Pretokenizer::operator=(Pretokenizer&&) noexcept = default;
Pretokenizer::~Pretokenizer() = default;

Result<Pretokenizer> Pretokenizer::create(const std::vector<std::string>& patterns) {
    Pretokenizer result;
    for (const std::string& text : patterns) {
        int error = 0;
        PCRE2_SIZE offset = 0;
        auto pattern = std::make_unique<Pattern>();
        pattern->code.reset(
            pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                          PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C, &error,
                          &offset, nullptr));
        if (!pattern->code) {
            return Error{ErrorCode::invalid,
                         fmt::format("the pattern `{}` does not compile at character {}: {}", text, offset,
                                     message_of(error))};
        }
        // Without JIT (a kernel that forbids it) the interpreter gives the same matches, slower.
        pcre2_jit_compile(pattern->code.get(), PCRE2_JIT_COMPLETE);
        result.patterns_.push_back(std::move(pattern));
    }
    return result;
}

Status Pretokenizer::Pattern::split(std::string_view text, std::vector<std::string_view>& pieces) const {
    const Owned<pcre2_match_data> match(pcre2_match_data_create_from_pattern(code.get(), nullptr));
    const Owned<pcre2_match_context> context(pcre2_match_context_create(nullptr));
    const Owned<pcre2_jit_stack> stack(pcre2_jit_stack_create(32 * 1024, kJitStackBytesMax, nullptr));
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    std::size_t done = 0;  // everything before is in `pieces`
    std::size_t at = 0;    // where the next match may begin
    while (at < text.size()) {
        const int code_or_groups =
            pcre2_match(code.get(), subject, text.size(), at, 0, match.get(), context.get());
        if (code_or_groups == PCRE2_ERROR_NOMATCH) break;
        if (code_or_groups < 0) {
            return Error{ErrorCode::failed, fmt::format("cutting text into words at byte {}: {}", at,
                                                        message_of(code_or_groups))};
        }
        const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match.get());
        if (range[1] <= range[0]) {  // an empty match separates nothing
            for (at = std::max<std::size_t>(at, range[0]) + 1;
                 at < text.size() && !starts_character(text[at]);)
                ++at;
            continue;
        }
        if (range[0] > done) pieces.push_back(text.substr(done, range[0] - done));
        pieces.push_back(text.substr(range[0], range[1] - range[0]));
        done = at = range[1];
    }
    if (done < text.size()) pieces.push_back(text.substr(done));
    return {};
}

Status Pretokenizer::split(std::string_view text, std::vector<std::string_view>& pieces) const {
    if (text.empty()) return {};
    if (patterns_.size() == 1) return patterns_.front()->split(text, pieces);
    std::vector<std::string_view> current{text};
    for (const auto& pattern : patterns_) {
        std::vector<std::string_view> next;
        for (const std::string_view piece : current) ATOLL_TRY(pattern->split(piece, next));
        current = std::move(next);
    }
    pieces.insert(pieces.end(), current.begin(), current.end());
    return {};
}

std::size_t safe_cut(std::string_view text, std::size_t from, std::size_t reach) {
    if (from >= text.size()) return text.size();
    const std::size_t end = std::min(text.size(), from + reach);
    for (std::size_t i = std::max<std::size_t>(from, 1); i < end; ++i) {
        if (text[i] == ' ' && text[i - 1] > ' ' && text[i - 1] < 0x7F) return i;
    }
    while (from < text.size() && !starts_character(text[from])) ++from;
    return from;
}

}  // namespace Atoll::model
