#include "node/cli.h"

#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/options.h"
#include "node/build_info.h"

namespace Atoll::node {

namespace {

void write_line(std::FILE* stream, std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stream);
    std::fputc('\n', stream);
    std::fflush(stream);
}

// Help that begins with what most readers came for: two commands to copy.
class ExamplesFirst : public CLI::Formatter {
  public:
    explicit ExamplesFirst(const CommandEntry& entry) : entry_(entry) { column_width(34); }
    std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override {
        std::string examples = "Examples:\n";
        for (const auto example : entry_.examples) examples += fmt::format("  {}\n", example);
        return examples + "\n" + CLI::Formatter::make_help(app, name, mode);
    }

  private:
    const CommandEntry& entry_;
};

void declare_global_flags(CLI::App& app, GlobalFlags& flags) {
    const std::string group = "Flags of every command";
    app.add_flag("--json", flags.json,
                 "one JSON object on standard output, everything else on standard error")
        ->group(group);
    app.add_flag("-q,--quiet", flags.quiet, "only results and errors")->group(group);
    app.add_flag("-v,--verbose", flags.verbose, "debug lines too")->group(group);
    app.add_flag("--no-color", flags.no_color, "plain text, also on a terminal")->group(group);
    app.add_option("--seed", flags.seed, "seed of everything random (run.seed)")->group(group);
    app.add_option("--threads", flags.threads, "threads to compute with; 0: one a core")
        ->group(group)
        ->check(CLI::Range(0, 4096));
    app.add_option("--device", flags.device, "where to compute")
        ->group(group)
        ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
    app.add_option("--config", flags.config_file, "run file (TOML)")->group(group)->type_name("FILE");
    app.add_option("--set", flags.assignments, "set one configuration key; repeatable")
        ->group(group)
        ->type_name("KEY=VALUE")
        ->allow_extra_args(false);
}

// Every command takes the same global flags; `data prepare --json` finds them in the parent.
void prepare(CLI::App& app, const CommandEntry& entry) {
    app.allow_extras();  // we name the nearest known word ourselves
    app.fallthrough();
    app.formatter(std::make_shared<ExamplesFirst>(entry));
}

std::vector<std::string> command_names() {
    std::vector<std::string> names{"help"};
    for (const auto& entry : commands()) names.emplace_back(entry.name);
    return names;
}

std::string program_help() {
    std::string text =
        "Atoll trains one language model together from many places.\n\nExamples:\n"
        "  atoll demo                     four nodes on this machine train one model on English text\n"
        "  atoll train --config run.toml  one node, no network\n\nCommands:\n";
    for (const auto& entry : commands()) text += fmt::format("  {:<12} {}\n", entry.name, entry.summary);
    return text +
           "\n`atoll help COMMAND` or `atoll COMMAND --help` shows a command's options; `atoll --version` "
           "what was built.";
}

// Names of options and sub-commands that `app` and its parsed sub-commands know.
void collect_words(const CLI::App& app, std::vector<std::string>& words) {
    for (const CLI::Option* option : app.get_options()) {
        for (const auto& name : option->get_lnames()) words.push_back("--" + name);
    }
    for (const CLI::App* sub : app.get_subcommands({})) {
        words.push_back(sub->get_name());
        collect_words(*sub, words);
    }
}

Error unknown_word(const CLI::App& app, const std::string& path, const std::string& word) {
    std::vector<std::string> words;
    collect_words(app, words);
    const std::string close = nearest(word.substr(0, word.find('=')), words);
    return {ErrorCode::invalid,
            fmt::format("{}: unexpected {}{}; see atoll help {}", path, word,
                        close.empty() ? "" : fmt::format(", did you mean {}?", close), path)};
}

// Parses; the help text if that was asked for, "" otherwise.
Result<std::string> parse(CLI::App& app, std::vector<std::string> arguments, const std::string& path) {
    const auto first_extra = [&]() -> std::string {
        const auto extras = app.remaining(true);
        return extras.empty() ? "" : extras.front();
    };
    try {
        std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
        app.parse(std::move(arguments));
    } catch (const CLI::CallForHelp&) {
        const CLI::App* deepest = &app;
        while (!deepest->get_subcommands().empty()) deepest = deepest->get_subcommands().front();
        return deepest->help(deepest == &app ? "" : app.get_name());
    } catch (const CLI::ParseError& e) {
        if (const std::string extra = first_extra(); !extra.empty()) return unknown_word(app, path, extra);
        return Error{ErrorCode::invalid, fmt::format("{}: {}; see atoll help {}", path, e.what(), path)};
    }
    if (const std::string extra = first_extra(); !extra.empty()) return unknown_word(app, path, extra);
    return std::string{};
}

int report_failure(const Error& error, const GlobalFlags& flags, bool speaks = true) {
    const int code = exit_code(error.code);
    write_line(stderr, "atoll: " + error.message);
    if (flags.json && speaks) {
        const nlohmann::json object = {{"error", error.message}, {"exit_code", code}};
        write_line(stdout, object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    }
    return code;
}

void configure_log(const GlobalFlags& flags) {
    if (flags.no_color) ::setenv("NO_COLOR", "1", 1);
    log::configure(flags.verbose ? log::Level::debug : flags.quiet ? log::Level::error : log::Level::info);
}

Result<Outcome> run_command(Command& command, Session& session) {
    try {
        return command.run(session);
    } catch (const std::bad_alloc&) {
        return Error{ErrorCode::failed,
                     "out of memory; a smaller model.width, optimizer.batch_sequences or more memory helps"};
    } catch (const std::exception& e) {  // nothing below should throw: say where to look rather than abort
        return Error{ErrorCode::failed, fmt::format("internal error: {}", e.what())};
    }
}

const CommandEntry* find_command(std::string_view name) {
    const auto entries = commands();
    const auto it =
        std::find_if(entries.begin(), entries.end(), [&](const CommandEntry& e) { return e.name == name; });
    return it == entries.end() ? nullptr : &*it;
}

Error unknown_command(const std::string& word) {
    if (word.starts_with("-")) {
        return {ErrorCode::invalid,
                fmt::format("{} comes after the command: atoll COMMAND {}; see atoll help", word, word)};
    }
    const std::string close = nearest(word, command_names());
    return {ErrorCode::invalid, fmt::format("unknown command {}{}; see atoll help", word,
                                            close.empty() ? "" : fmt::format(", did you mean {}?", close))};
}

}  // namespace

void Session::print(std::string_view line) const {
    if (!flags_.json) write_line(stdout, line);
}

void Session::note(std::string_view line) const {
    if (!flags_.quiet) write_line(stderr, line);
}

std::unique_ptr<CLI::App> make_parser(const CommandEntry& entry, Command& command, GlobalFlags& flags) {
    auto app = std::make_unique<CLI::App>(std::string(entry.summary), "atoll " + std::string(entry.name));
    prepare(*app, entry);
    command.declare(*app);
    declare_global_flags(*app, flags);
    return app;
}

std::string version_text() {
    return fmt::format("atoll {} ({}, {}, CUDA {}, Open MPI {})", build_info().version, build_info().commit,
                       build_info().compiler, build_info().cuda ? "yes" : "no",
                       build_info().mpi ? "yes" : "no");
}

int run_cli(const std::vector<std::string>& arguments, const std::string& program, StopToken& stop,
            std::atomic<bool>& watches_stop) {
    GlobalFlags flags;
    // Known before parsing, so that a parse error comes as JSON too.
    flags.json = std::find(arguments.begin(), arguments.end(), "--json") != arguments.end();
    std::vector<std::string> words = arguments;
    if (words.empty() || words[0] == "-h" || words[0] == "--help" ||
        (words[0] == "help" && words.size() == 1)) {
        write_line(stdout, program_help());
        return 0;
    }
    if (words[0] == "--version") {
        write_line(stdout, version_text());
        return 0;
    }
    if (words[0] == "help") {  // atoll help data prepare = atoll data prepare --help
        words.erase(words.begin());
        words.emplace_back("--help");
    }
    const CommandEntry* entry = find_command(words[0]);
    if (entry == nullptr) return report_failure(unknown_command(words[0]), flags);

    const auto command = entry->make();
    const auto parser = make_parser(*entry, *command, flags);
    const auto help = parse(*parser, {words.begin() + 1, words.end()}, std::string(entry->name));
    if (!help) return report_failure(help.error(), flags);
    if (!help->empty()) {
        write_line(stdout, *help);
        return 0;
    }
    configure_log(flags);
    watches_stop = command->watches_stop();
    Session session(flags, stop, program);
    const auto outcome = run_command(*command, session);
    if (!outcome) return report_failure(outcome.error(), flags, session.speaks());
    if (flags.json && session.speaks()) write_line(stdout, outcome->json);
    return outcome->exit_code;
}

}  // namespace Atoll::node
