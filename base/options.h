// A configuration schema bound to variables: one list of keys from which the TOML reader, `--set`, `--help`,
// `config show --origin`, docs/reference/config.md and every error text are made.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace Atoll {

// Limits of a numeric key, both ends included.
struct Range {
    double low;
    double high;
};

// What a text key may be; checked when it is set. The vector is copied.
struct OneOf {
    std::vector<std::string> names;
};

class Options {
  public:
    enum class Scope {
        shared,  // agreed by the whole run, part of the run id
        local,   // this machine's own business
    };

    struct Key {
        std::string name;           // "optimizer.learning_rate"
        std::string type;           // "integer", "number", "boolean", "text", "list of text"
        std::string help;           // one line
        std::string expected;       // "a number from 0 to 10"
        std::string default_value;  // as TOML
        std::string origin;         // "default", "file run.toml", "environment", "--set", ...
        Scope scope = Scope::local;
        std::function<std::string()> get;                          // current value as TOML
        std::function<Status(const std::string& toml_value)> set;  // parses, checks, assigns
        std::function<void()> then;                                // on_set(), or empty
    };

    // Binds a key to a variable that outlives this object; the variable's present value is the default.
    void add(Scope scope, std::string name, std::int64_t* value, Range range, std::string help);
    void add(Scope scope, std::string name, double* value, Range range, std::string help);
    void add(Scope scope, std::string name, bool* value, std::string help);
    void add(Scope scope, std::string name, std::string* value, std::string help);
    void add(Scope scope, std::string name, std::string* value, OneOf one_of, std::string help);
    void add(Scope scope, std::string name, std::vector<std::string>* value, std::string help);

    // Calls `then` whenever the key was set: for a key that gives others new values (a preset). What its
    // former value gave, and nobody has set since, is back to default by then. Precondition: the key was
    // added before those others, so that in one file they have the last word.
    void on_set(std::string_view name, std::function<void()> then);

    // Sets one key from text: a TOML value, or a bare word for a text key. Errors (invalid): unknown key
    // (names the nearest known one), wrong type or range (names key, value, what was expected).
    [[nodiscard]] Status set(std::string_view key, const std::string& text, const std::string& origin);
    // "a.b=value", as after --set.
    [[nodiscard]] Status set_assignment(std::string_view assignment, const std::string& origin);
    // Every key of a TOML text, in the order the keys were added. The first error stops it; the message
    // carries file and line.
    [[nodiscard]] Status load_toml(const std::string& text, const std::string& origin);
    [[nodiscard]] Status load_file(const std::filesystem::path& path);
    // ATOLL_OPTIMIZER_LEARNING_RATE for optimizer.learning_rate; `lookup` is getenv or a test's stand-in.
    [[nodiscard]] Status load_environment(const std::function<const char*(const char*)>& lookup);

    // Current values as TOML, tables in order of first use. With `comments`: help, expected values and
    // origin.
    [[nodiscard]] std::string to_toml(bool comments) const;
    // Only the shared keys, without comments, in sorted order: the text whose hash is the run id.
    [[nodiscard]] std::string shared_toml() const;

    [[nodiscard]] const std::vector<Key>& keys() const { return keys_; }
    [[nodiscard]] const Key* find(std::string_view name) const;

  private:
    void insert(Key key);
    std::vector<Key> keys_;
};

// The candidate with the smallest edit distance to `word` (empty if there is none within half its length).
[[nodiscard]] std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace Atoll
