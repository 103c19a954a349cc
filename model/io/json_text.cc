#include "model/io/json_text.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>
#include <string>
#include <unordered_set>
#include <vector>

namespace Atoll::model {

namespace {

using nlohmann::json;

constexpr std::size_t kDepthMax =
    64;  // deeper than any file of ours or of others; bounds what a parser has to hold

class KeyCheck final : public nlohmann::json_sax<json> {
  public:
    std::string problem;

    bool null() override { return true; }
    bool boolean(bool /*value*/) override { return true; }
    bool number_integer(number_integer_t /*value*/) override { return true; }
    bool number_unsigned(number_unsigned_t /*value*/) override { return true; }
    bool number_float(number_float_t /*value*/, const string_t& /*text*/) override { return true; }
    bool string(string_t& /*value*/) override { return true; }
    bool binary(binary_t& /*value*/) override { return true; }
    bool start_object(std::size_t /*elements*/) override { return enter(); }
    bool end_object() override { return leave(); }
    bool start_array(std::size_t /*elements*/) override { return enter(); }
    bool end_array() override { return leave(); }
    bool key(string_t& name) override {
        if (keys_.back().insert(name).second) return true;
        problem = fmt::format("the key \"{}\" is there twice", name.substr(0, 100));
        return false;
    }
    bool parse_error(std::size_t position, const std::string& /*last_token*/,
                     const nlohmann::detail::exception& error) override {
        problem = fmt::format("not valid JSON at byte {}: {}", position, error.what());
        return false;
    }

  private:
    bool enter() {
        keys_.emplace_back();
        if (keys_.size() > kDepthMax) problem = fmt::format("nested more than {} levels deep", kDepthMax);
        return problem.empty();
    }
    bool leave() {
        keys_.pop_back();
        return true;
    }

    std::vector<std::unordered_set<std::string>>
        keys_;  // of every object that is open (arrays: an empty set)
};

}  // namespace

Status check_json_object(std::string_view text, std::string_view origin) {
    const auto refuse = [&](const std::string& problem) {
        return Error{ErrorCode::corrupt, fmt::format("{}: {}", origin, problem)};
    };
    const std::size_t first = text.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos) return refuse("empty");
    if (text[first] != '{') return refuse("not a JSON object");
    KeyCheck check;
    if (!json::sax_parse(text, &check)) return refuse(check.problem);
    return {};
}

}  // namespace Atoll::model
