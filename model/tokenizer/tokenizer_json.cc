// Hugging Face's tokenizer.json, read and written (docs/reference/data.md).
#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "base/files.h"
#include "model/io/json_text.h"
#include "model/tokenizer/bpe.h"
#include "model/tokenizer/byte_alphabet.h"
#include "model/tokenizer/pretokenize.h"

namespace Atoll::model {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr std::uint64_t kFileBytesMax = std::uint64_t{64} << 20U;

Error corrupt(std::string what) { return {ErrorCode::corrupt, std::move(what)}; }

Error unsupported(const std::string& setting, const json& value) {
    return {ErrorCode::invalid,
            fmt::format("{} = {} is not supported: only byte-level BPE as GPT-2 and Llama 3 use it", setting,
                        value.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 200))};
}

// nullptr-safe lookup: a null value counts as absent.
const json* member(const json& object, const char* key) {
    if (!object.is_object()) return nullptr;
    const auto it = object.find(key);
    return it == object.end() || it->is_null() ? nullptr : &*it;
}

bool is_true(const json& object, const char* key, bool absent = false) {
    const json* value = member(object, key);
    return value == nullptr ? absent : !value->is_boolean() || value->get<bool>();
}

std::string text_of(const json& object, const char* key) {
    const json* value = member(object, key);
    return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

// Settings of the BPE model that change what text encodes to, in ways that this encoder does not follow.
Status check_model(const json& model) {
    if (text_of(model, "type") != "BPE") return unsupported("model.type", model.value("type", json()));
    for (const char* key : {"dropout", "unk_token"}) {
        // GPT-2's files may name an unknown token; it never occurs, since every byte is in the vocabulary.
        if (const json* value = member(model, key);
            value != nullptr && value->is_number() && value->get<double>() != 0.0) {
            return unsupported(fmt::format("model.{}", key), *value);
        }
    }
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
        if (const json* value = member(model, key); value != nullptr && *value != "") {
            return unsupported(fmt::format("model.{}", key), *value);
        }
    }
    for (const char* key : {"byte_fallback", "fuse_unk"}) {
        if (is_true(model, key)) return unsupported(fmt::format("model.{}", key), model[key]);
    }
    return {};
}

Status read_byte_level(const json& step, std::vector<std::string>& patterns) {
    if (is_true(step, "add_prefix_space", true)) return unsupported("pre_tokenizer.add_prefix_space", true);
    if (is_true(step, "use_regex", true)) patterns.emplace_back(kGpt2Pattern);
    return {};
}

Status read_split(const json& step, std::vector<std::string>& patterns) {
    const json* pattern = member(step, "pattern");
    if (text_of(step, "behavior") != "Isolated")
        return unsupported("pre_tokenizer.behavior", step.value("behavior", json()));
    if (is_true(step, "invert")) return unsupported("pre_tokenizer.invert", true);
    if (pattern == nullptr) return corrupt("pre_tokenizer: Split without a pattern");
    if (const std::string regex = text_of(*pattern, "Regex"); !regex.empty()) {
        patterns.push_back(regex);
        return {};
    }
    const std::string literal = text_of(*pattern, "String");
    if (literal.empty() || literal.find("\\E") != std::string::npos)
        return unsupported("pre_tokenizer.pattern", *pattern);
    patterns.push_back("\\Q" + literal + "\\E");
    return {};
}

// Byte-level encoding must be the last step: what comes after it would see its alphabet instead of the text.
Status read_pre_tokenizer(const json& root, std::vector<std::string>& patterns) {
    const json* top = member(root, "pre_tokenizer");
    if (top == nullptr) return unsupported("pre_tokenizer", json());
    std::vector<const json*> steps{top};
    if (text_of(*top, "type") == "Sequence") {
        const json* list = member(*top, "pretokenizers");
        if (list == nullptr || !list->is_array() || list->empty())
            return corrupt("pre_tokenizer: an empty Sequence");
        steps.clear();
        for (const json& step : *list) steps.push_back(&step);
    }
    for (const json* step : steps) {
        const std::string type = text_of(*step, "type");
        if ((type == "ByteLevel") != (step == steps.back())) return unsupported("pre_tokenizer", *top);
        if (type == "ByteLevel") {
            ATOLL_TRY(read_byte_level(*step, patterns));
        } else if (type == "Split") {
            ATOLL_TRY(read_split(*step, patterns));
        } else if (type == "Digits") {
            patterns.emplace_back(is_true(*step, "individual_digits") ? "\\p{N}" : "\\p{N}+");
        } else {
            return unsupported("pre_tokenizer.type", step->value("type", json()));
        }
    }
    return {};
}

using Vocabulary = std::unordered_map<std::string, std::int32_t>;

// An id from the file; bounded by `ids_max`, since a table as long as the largest id is allocated.
Result<std::int32_t> read_id(const json& value, std::size_t ids_max, const std::string& token) {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() >= ids_max) {
        return corrupt(fmt::format("token \"{}\" has id {}: expected a number below {}", token.substr(0, 100),
                                   value.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 40),
                                   ids_max));
    }
    return value.get<std::int32_t>();
}

Status set_token(BpeModel& model, std::int32_t id, std::string bytes) {
    const auto index = static_cast<std::size_t>(id);
    if (model.tokens.size() <= index) model.tokens.resize(index + 1);
    if (!model.tokens[index].empty() && model.tokens[index] != bytes)
        return corrupt(fmt::format("two tokens have id {}", id));
    model.tokens[index] = std::move(bytes);
    return {};
}

Status read_vocabulary(const json& bpe, std::size_t ids_max, BpeModel& model, Vocabulary& vocabulary) {
    model.byte_ids.fill(-1);
    for (const auto& [token, value] : bpe["vocab"].items()) {
        if (token.empty()) return corrupt("model.vocab has an empty token");
        ATOLL_ASSIGN(const std::int32_t id, read_id(value, ids_max, token));
        // Special tokens may stand in the vocabulary as plain text, outside the byte alphabet.
        const std::string bytes = alphabet_to_bytes(token).value_or(token);
        ATOLL_TRY(set_token(model, id, bytes));
        if (bytes.size() == 1 && alphabet_to_bytes(token))
            model.byte_ids[static_cast<unsigned char>(bytes[0])] = id;
        vocabulary.emplace(token, id);
    }
    return {};
}

Result<Merge> read_merge(const json& value, const Vocabulary& vocabulary) {
    std::string left;
    std::string right;
    if (value.is_array() && value.size() == 2 && value[0].is_string() && value[1].is_string()) {
        left = value[0].get<std::string>();
        right = value[1].get<std::string>();
    } else if (value.is_string()) {
        const auto text = value.get<std::string>();
        const std::size_t space = text.find(' ');
        left = text.substr(0, space);
        if (space != std::string::npos) right = text.substr(space + 1);
    }
    const auto a = vocabulary.find(left);
    const auto b = vocabulary.find(right);
    const auto merged = vocabulary.find(left + right);
    if (a == vocabulary.end() || b == vocabulary.end() || merged == vocabulary.end()) {
        return corrupt(
            fmt::format("merge {}: a part of it, or the whole, is not in model.vocab",
                        value.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 100)));
    }
    return Merge{a->second, b->second, merged->second};
}

Status read_added_tokens(const json& root, std::size_t ids_max, BpeModel& model) {
    const json* added = member(root, "added_tokens");
    if (added == nullptr) return {};
    for (const json& token : *added) {
        const std::string text = text_of(token, "content");
        if (text.empty() || !token.contains("id"))
            return corrupt("added_tokens: an entry without id or content");
        for (const char* key : {"single_word", "lstrip", "rstrip"}) {
            if (is_true(token, key)) return unsupported(fmt::format("added_tokens.{}", key), token);
        }
        ATOLL_ASSIGN(const std::int32_t id, read_id(token["id"], ids_max, text));
        // One that is a word of the vocabulary too keeps the bytes it has there.
        const auto index = static_cast<std::size_t>(id);
        const bool known = index < model.tokens.size() && !model.tokens[index].empty();
        if (!known || alphabet_to_bytes(text) != model.tokens[index]) ATOLL_TRY(set_token(model, id, text));
        model.specials.push_back({id, text});
    }
    return {};
}

// The name that tokenizer_config.json gives, else the first of those in use.
std::optional<std::int32_t> find_end_of_text(const BpeModel& model, const std::string& named) {
    for (const std::string& name :
         {named, std::string("<|endoftext|>"), std::string("<|end_of_text|>"), std::string("</s>")}) {
        const auto it = std::find_if(model.specials.begin(), model.specials.end(),
                                     [&](const auto& s) { return s.text == name; });
        if (it != model.specials.end()) return it->id;
    }
    return std::nullopt;
}

bool is_byte_model(const BpeModel& model) {
    return model.merges.empty() && model.specials.empty() && model.tokens == byte_level_model().tokens;
}

Result<BpeModel> read_model(const json& root, const std::string& end_of_text) {
    const json* bpe = member(root, "model");
    if (bpe == nullptr) return corrupt("no \"model\"; is it a tokenizer.json of Hugging Face?");
    ATOLL_TRY(check_model(*bpe));
    if (const json* normalizer = member(root, "normalizer")) return unsupported("normalizer", *normalizer);
    const json* vocab = member(*bpe, "vocab");
    const json* merges = member(*bpe, "merges");
    const json* added = member(root, "added_tokens");
    if (vocab == nullptr || !vocab->is_object() || vocab->empty())
        return corrupt("model.vocab is not a table of tokens");
    if (merges == nullptr || !merges->is_array()) return corrupt("model.merges is not a list");
    if (added != nullptr && !added->is_array()) return corrupt("added_tokens is not a list");
    BpeModel model;
    ATOLL_TRY(read_pre_tokenizer(root, model.patterns));
    // Ids may have gaps (padding, removed tokens), but a file does not get to reserve memory it has no tokens
    // for.
    const std::size_t ids_max = 4 * (vocab->size() + (added == nullptr ? 0 : added->size())) + 65536;
    Vocabulary vocabulary;
    ATOLL_TRY(read_vocabulary(*bpe, ids_max, model, vocabulary));
    for (const json& merge : *merges) {
        ATOLL_ASSIGN(const Merge rule, read_merge(merge, vocabulary));
        model.merges.push_back(rule);
    }
    model.ignore_merges = is_true(*bpe, "ignore_merges");
    ATOLL_TRY(read_added_tokens(root, ids_max, model));
    model.end_of_text = find_end_of_text(model, end_of_text);
    return model;
}

// "eos_token" of tokenizer_config.json: a text, or an object with "content". Optional, so a damaged file is
// an error only to those who need more of it.
std::string end_of_text_name(const fs::path& folder) {
    const auto text = read_text(folder / "tokenizer_config.json", kFileBytesMax);
    if (!text) return {};
    const json root = json::parse(*text, nullptr, false);
    const json* token = member(root, "eos_token");
    if (token == nullptr) return {};
    return token->is_string() ? token->get<std::string>() : text_of(*token, "content");
}

Result<std::unique_ptr<Tokenizer>> parse(const std::string& text, const std::string& origin,
                                         const std::string& end_of_text) {
    ATOLL_TRY(check_json_object(text, origin));
    auto model = read_model(json::parse(text, nullptr, false), end_of_text);
    if (!model) return model.error().within(origin);
    if (is_byte_model(*model)) return make_byte_tokenizer();
    model->source_json = text;
    auto tokenizer = make_bpe_tokenizer(std::move(*model));
    if (!tokenizer) return tokenizer.error().within(origin);
    return tokenizer;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> tokenizer_from_json(const std::string& text, const std::string& origin) {
    return parse(text, origin, "");
}

Result<std::unique_ptr<Tokenizer>> load_tokenizer(const fs::path& path) {
    std::error_code code;
    const bool folder = fs::is_directory(path, code);
    const fs::path file = folder ? path / "tokenizer.json" : path;
    ATOLL_ASSIGN(const std::string text, read_text(file, kFileBytesMax));
    return parse(text, file.string(), end_of_text_name(file.parent_path()));
}

std::string bpe_to_json(const BpeModel& model) {
    nlohmann::ordered_json root;
    root["version"] = "1.0";
    root["truncation"] = nullptr;
    root["padding"] = nullptr;
    root["added_tokens"] = nlohmann::ordered_json::array();
    for (const auto& special : model.specials) {
        root["added_tokens"].push_back({{"id", special.id},
                                        {"content", special.text},
                                        {"single_word", false},
                                        {"lstrip", false},
                                        {"rstrip", false},
                                        {"normalized", false},
                                        {"special", true}});
    }
    root["normalizer"] = nullptr;
    const bool split = !model.patterns.empty();
    root["pre_tokenizer"] = {
        {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", split}};
    root["post_processor"] = nullptr;
    root["decoder"] = {
        {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", split}};
    auto& bpe = root["model"];
    bpe = {{"type", "BPE"},
           {"dropout", nullptr},
           {"unk_token", nullptr},
           {"continuing_subword_prefix", nullptr},
           {"end_of_word_suffix", nullptr},
           {"fuse_unk", false},
           {"byte_fallback", false},
           {"ignore_merges", model.ignore_merges}};
    bpe["vocab"] = nlohmann::ordered_json::object();
    const auto is_special = [&](std::size_t id) {
        return std::any_of(model.specials.begin(), model.specials.end(),
                           [&](const auto& special) { return static_cast<std::size_t>(special.id) == id; });
    };
    std::string vocab;  // by hand: ordered_json looks for each new key among all old ones
    for (std::size_t id = 0; id < model.tokens.size(); ++id) {
        if (model.tokens[id].empty()) continue;
        const std::string token = is_special(id) ? model.tokens[id] : bytes_to_alphabet(model.tokens[id]);
        vocab += fmt::format("{}{}:{}", vocab.empty() ? "" : ",", json(token).dump(), id);
    }
    bpe["merges"] = nlohmann::ordered_json::array();
    for (const Merge& merge : model.merges) {
        bpe["merges"].push_back(bytes_to_alphabet(model.tokens[static_cast<std::size_t>(merge.left)]) + ' ' +
                                bytes_to_alphabet(model.tokens[static_cast<std::size_t>(merge.right)]));
    }
    std::string text = root.dump();
    const std::string_view empty = "\"vocab\":{}";
    text.replace(text.find(empty), empty.size(), "\"vocab\":{" + vocab + "}");
    return text;
}

}  // namespace Atoll::model
