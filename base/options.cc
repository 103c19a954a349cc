#include "base/options.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <sstream>
#include <toml.hpp>

#include "base/check.h"
#include "base/files.h"

namespace Atoll {

namespace {

std::string quote(const std::string& text) {
    std::string quoted = "\"";
    for (const char c : text) {
        switch (c) {
            case '"': quoted += "\\\""; break;
            case '\\': quoted += "\\\\"; break;
            case '\n': quoted += "\\n"; break;
            case '\t': quoted += "\\t"; break;
            default:
                if (static_cast<unsigned char>(c) < 0x20) {
                    quoted += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
                } else {
                    quoted += c;
                }
        }
    }
    return quoted + '"';
}

std::string number_text(double value) {
    std::string text = fmt::format("{}", value);
    if (text.find_first_of(".en") == std::string::npos) text += ".0";
    return text;
}

std::string range_text(std::string_view noun, Range range) {
    const bool low = std::isfinite(range.low);
    const bool high = std::isfinite(range.high);
    if (low && high) return fmt::format("{} from {} to {}", noun, range.low, range.high);
    if (low) return fmt::format("{} of {} or more", noun, range.low);
    if (high) return fmt::format("{} of at most {}", noun, range.high);
    return std::string(noun);
}

// A TOML value from its text, in a document of one key.
Result<toml::value> parse_value(const std::string& text) {
    try {
        std::istringstream stream("value = " + text + "\n");
        const toml::value document = toml::parse(stream, "value");
        if (document.as_table().size() != 1) return Error{ErrorCode::invalid, "not one value"};
        return document.at("value");
    } catch (const std::exception&) {
        return Error{ErrorCode::invalid, "not a TOML value"};
    }
}

std::string value_text(const toml::value& value) {
    if (value.is_string()) return quote(value.as_string().str);
    if (value.is_floating()) return number_text(value.as_floating());
    if (value.is_array()) {
        std::string text = "[";
        for (const auto& item : value.as_array()) text += (text.size() > 1 ? ", " : "") + value_text(item);
        return text + "]";
    }
    std::ostringstream stream;
    stream << value;
    return stream.str();
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t above = row[j];
            row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0U : 1U)});
            diagonal = above;
        }
    }
    return row[b.size()];
}

std::string table_of(const std::string& name) {
    const auto dot = name.rfind('.');
    return dot == std::string::npos ? "" : name.substr(0, dot);
}

std::string leaf_of(const std::string& name) {
    const auto dot = name.rfind('.');
    return dot == std::string::npos ? name : name.substr(dot + 1);
}

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
    std::string best;
    std::size_t best_distance = word.size() / 2 + 1;
    for (const auto& candidate : candidates) {
        const std::size_t distance = edit_distance(word, candidate);
        if (distance < best_distance) {
            best_distance = distance;
            best = candidate;
        }
    }
    return best;
}

void Options::insert(Key key) {
    key.default_value = key.get();
    key.origin = "default";
    keys_.push_back(std::move(key));
}

void Options::add(Scope scope, std::string name, std::int64_t* value, Range range, std::string help) {
    const std::string expected = range_text("an integer", range);
    insert({.name = std::move(name),
            .type = "integer",
            .help = std::move(help),
            .expected = expected,
            .scope = scope,
            .get = [value] { return std::to_string(*value); },
            .set = [value, range, expected](const std::string& text) -> Status {
                const auto parsed = parse_value(text);
                if (!parsed || !parsed->is_integer()) return Error{ErrorCode::invalid, expected};
                const std::int64_t number = parsed->as_integer();
                if (static_cast<double>(number) < range.low || static_cast<double>(number) > range.high) {
                    return Error{ErrorCode::invalid, expected};
                }
                *value = number;
                return {};
            }});
}

void Options::add(Scope scope, std::string name, double* value, Range range, std::string help) {
    const std::string expected = range_text("a number", range);
    insert({.name = std::move(name),
            .type = "number",
            .help = std::move(help),
            .expected = expected,
            .scope = scope,
            .get = [value] { return number_text(*value); },
            .set = [value, range, expected](const std::string& text) -> Status {
                const auto parsed = parse_value(text);
                if (!parsed || !(parsed->is_integer() || parsed->is_floating()))
                    return Error{ErrorCode::invalid, expected};
                const double number =
                    parsed->is_integer() ? static_cast<double>(parsed->as_integer()) : parsed->as_floating();
                if (!(number >= range.low && number <= range.high))
                    return Error{ErrorCode::invalid, expected};
                *value = number;
                return {};
            }});
}

void Options::add(Scope scope, std::string name, bool* value, std::string help) {
    insert({.name = std::move(name),
            .type = "boolean",
            .help = std::move(help),
            .expected = "true or false",
            .scope = scope,
            .get = [value] { return std::string(*value ? "true" : "false"); },
            .set = [value](const std::string& text) -> Status {
                if (text != "true" && text != "false") return Error{ErrorCode::invalid, "true or false"};
                *value = text == "true";
                return {};
            }});
}

void Options::add(Scope scope, std::string name, std::string* value, std::string help) {
    insert({.name = std::move(name),
            .type = "text",
            .help = std::move(help),
            .expected = "text",
            .scope = scope,
            .get = [value] { return quote(*value); },
            .set = [value](const std::string& text) -> Status {
                const auto parsed = parse_value(text);
                if (parsed && parsed->is_string()) {
                    *value = parsed->as_string().str;
                } else if (parsed) {
                    return Error{ErrorCode::invalid, "text"};
                } else {
                    *value = text;  // a bare word, as typed after --set
                }
                return {};
            }});
}

void Options::add(Scope scope, std::string name, std::string* value, OneOf one_of, std::string help) {
    std::string expected = "one of";
    for (std::size_t i = 0; i < one_of.names.size(); ++i) expected += (i == 0 ? " " : ", ") + one_of.names[i];
    insert({.name = std::move(name),
            .type = "text",
            .help = std::move(help),
            .expected = expected,
            .scope = scope,
            .get = [value] { return quote(*value); },
            .set = [value, expected, names = std::move(one_of.names)](const std::string& text) -> Status {
                const auto parsed = parse_value(text);
                const std::string word = parsed && parsed->is_string() ? parsed->as_string().str : text;
                if (std::find(names.begin(), names.end(), word) == names.end()) {
                    const std::string close = nearest(word, names);
                    return Error{ErrorCode::invalid,
                                 expected + (close.empty() ? "" : "; did you mean " + close + "?")};
                }
                *value = word;
                return {};
            }});
}

void Options::add(Scope scope, std::string name, std::vector<std::string>* value, std::string help) {
    insert({.name = std::move(name),
            .type = "list of text",
            .help = std::move(help),
            .expected = "a list of text, as [\"a\", \"b\"]",
            .scope = scope,
            .get =
                [value] {
                    std::string text = "[";
                    for (const auto& item : *value) text += (text.size() > 1 ? ", " : "") + quote(item);
                    return text + "]";
                },
            .set = [value](const std::string& text) -> Status {
                const auto parsed = parse_value(text);
                std::vector<std::string> items;
                if (parsed && parsed->is_array()) {
                    for (const auto& item : parsed->as_array()) {
                        if (!item.is_string())
                            return Error{ErrorCode::invalid, "a list of text, as [\"a\", \"b\"]"};
                        items.push_back(item.as_string().str);
                    }
                } else if (parsed && parsed->is_string()) {
                    items.push_back(parsed->as_string().str);
                } else if (!parsed) {  // bare words after --set, separated by commas
                    std::istringstream stream(text);
                    for (std::string item; std::getline(stream, item, ',');) items.push_back(item);
                } else {
                    return Error{ErrorCode::invalid, "a list of text, as [\"a\", \"b\"]"};
                }
                *value = std::move(items);
                return {};
            }});
}

const Options::Key* Options::find(std::string_view name) const {
    const auto it =
        std::find_if(keys_.begin(), keys_.end(), [&](const Key& key) { return key.name == name; });
    return it == keys_.end() ? nullptr : &*it;
}

Status Options::set(std::string_view name, const std::string& text, const std::string& origin) {
    const auto it =
        std::find_if(keys_.begin(), keys_.end(), [&](const Key& key) { return key.name == name; });
    if (it == keys_.end()) {
        std::vector<std::string> names;
        for (const auto& key : keys_) names.push_back(key.name);
        std::string close = nearest(name, names);
        if (close.empty()) {  // right leaf, wrong table
            for (const auto& key : keys_) {
                if (leaf_of(key.name) == leaf_of(std::string(name))) close = key.name;
            }
        }
        return Error{ErrorCode::invalid, fmt::format("unknown key {} ({}){}", name, origin,
                                                     close.empty() ? "" : "; did you mean " + close + "?")};
    }
    if (Status status = it->set(text); !status) {
        return Error{ErrorCode::invalid,
                     fmt::format("{} = {} ({}): expected {}", name, text, origin, status.error().message)};
    }
    it->origin = origin;
    if (it->then) {
        const std::string given = fmt::format("{} = ", name);  // the origin of what this key gives to others
        for (auto& key : keys_) {
            if (!key.origin.starts_with(given)) continue;
            ATOLL_TRY(key.set(key.default_value));
            key.origin = "default";
        }
        std::vector<std::string> before;
        for (const auto& key : keys_) before.push_back(key.get());
        it->then();
        for (std::size_t i = 0; i < keys_.size(); ++i) {
            if (keys_[i].get() != before[i]) keys_[i].origin = fmt::format("{} = {}", name, it->get());
        }
    }
    return {};
}

void Options::on_set(std::string_view name, std::function<void()> then) {
    const auto it =
        std::find_if(keys_.begin(), keys_.end(), [&](const Key& key) { return key.name == name; });
    ATOLL_CHECK(it != keys_.end());
    it->then = std::move(then);
}

Status Options::set_assignment(std::string_view assignment, const std::string& origin) {
    const auto equals = assignment.find('=');
    if (equals == std::string_view::npos || equals == 0) {
        return Error{ErrorCode::invalid, fmt::format("{} {}: expected key=value", origin, assignment)};
    }
    return set(assignment.substr(0, equals), std::string(assignment.substr(equals + 1)), origin);
}

namespace {

struct Assignment {
    std::string name;
    std::string value;
    std::string where;
};

void collect(const toml::value& table, const std::string& prefix, const std::string& origin,
             std::vector<Assignment>& assignments) {
    for (const auto& [key, value] : table.as_table()) {
        const std::string name = prefix.empty() ? key : prefix + "." + key;
        if (value.is_table()) {
            collect(value, name, origin, assignments);
        } else {
            assignments.push_back(
                {name, value_text(value), fmt::format("{} line {}", origin, value.location().line())});
        }
    }
}

}  // namespace

Status Options::load_toml(const std::string& text, const std::string& origin) {
    std::vector<Assignment> assignments;
    try {
        std::istringstream stream(text);
        collect(toml::parse(stream, origin), "", origin, assignments);
    } catch (const std::exception& e) {
        return Error{ErrorCode::invalid, e.what()};
    }
    // toml11 hands tables over in the order of a hash; unknown keys come last and are refused.
    std::sort(assignments.begin(), assignments.end(), [&](const Assignment& a, const Assignment& b) {
        const Key* a_key = find(a.name);
        const Key* b_key = find(b.name);
        if (a_key == nullptr || b_key == nullptr) return a_key == b_key ? a.name < b.name : b_key == nullptr;
        return a_key < b_key;
    });
    for (const Assignment& assignment : assignments) {
        ATOLL_TRY(set(assignment.name, assignment.value, assignment.where));
    }
    return {};
}

Status Options::load_file(const std::filesystem::path& path) {
    auto text = read_text(path, 1U << 20U);
    if (!text) return Error{ErrorCode::invalid, text.error().message};
    return load_toml(*text, path.string());
}

Status Options::load_environment(const std::function<const char*(const char*)>& lookup) {
    for (const auto& key : keys_) {
        std::string variable = "ATOLL_" + key.name;
        for (char& c : variable)
            c = c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
        if (const char* value = lookup(variable.c_str())) {
            ATOLL_TRY(set(key.name, value, "environment " + variable));
        }
    }
    return {};
}

std::string Options::to_toml(bool comments) const {
    std::vector<std::string> tables;
    for (const auto& key : keys_) {
        if (std::find(tables.begin(), tables.end(), table_of(key.name)) == tables.end())
            tables.push_back(table_of(key.name));
    }
    std::string text;
    for (const auto& table : tables) {
        text += fmt::format("{}[{}]\n", text.empty() ? "" : "\n", table);
        for (const auto& key : keys_) {
            if (table_of(key.name) != table) continue;
            if (comments) text += fmt::format("# {} ({})\n", key.help, key.expected);
            text += fmt::format("{} = {}", leaf_of(key.name), key.get());
            if (comments && key.origin != "default") text += "  # " + key.origin;
            text += "\n";
        }
    }
    return text;
}

std::string Options::shared_toml() const {
    std::vector<const Key*> shared;
    for (const auto& key : keys_) {
        if (key.scope == Scope::shared) shared.push_back(&key);
    }
    std::sort(shared.begin(), shared.end(), [](const Key* a, const Key* b) { return a->name < b->name; });
    std::string text;
    for (const Key* key : shared) text += key->name + " = " + key->get() + "\n";
    return text;
}

}  // namespace Atoll
