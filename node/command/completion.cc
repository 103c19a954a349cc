#include <fmt/core.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "node/cli.h"
#include "node/command.h"

namespace Atoll::node {

namespace {

struct Words {
    std::string command;
    std::string summary;
    std::vector<std::string> next;  // options and sub-commands
};

void collect(const CLI::App& app, std::vector<std::string>& words) {
    for (const CLI::App* sub : app.get_subcommands({})) {
        words.push_back(sub->get_name());
        collect(*sub, words);
    }
    for (const CLI::Option* option : app.get_options()) {
        for (const auto& name : option->get_lnames()) words.push_back("--" + name);
    }
}

std::vector<Words> all_words() {
    std::vector<Words> all;
    for (const auto& entry : commands()) {
        GlobalFlags flags;
        const auto command = entry.make();
        const auto parser = make_parser(entry, *command, flags);
        Words words{std::string(entry.name), std::string(entry.summary), {}};
        collect(*parser, words.next);
        all.push_back(std::move(words));
    }
    return all;
}

std::vector<std::string> names_of(const std::vector<Words>& all) {
    std::vector<std::string> names;
    for (const auto& words : all) names.push_back(words.command);
    names.emplace_back("help");
    return names;
}

// Inside '...' of a shell, with `special` characters escaped by a backslash.
std::string quoted(const std::string& text, char special = '\0') {
    std::string result;
    for (const char c : text) {
        if (c == '\'') {
            result += "'\\''";
        } else if (c == special && special != '\0') {
            result += std::string("\\") + c;
        } else {
            result += c;
        }
    }
    return result;
}

std::string bash_script(const std::vector<Words>& all) {
    std::string script =
        "# eval \"$(atoll completion bash)\"\n_atoll() {\n    local word=${COMP_WORDS[COMP_CWORD]} words\n"
        "    if [ \"$COMP_CWORD\" -eq 1 ] || [ \"${COMP_WORDS[1]}\" = help ]; then\n";
    script +=
        fmt::format("        words='{} --help --version'\n    else\n        case ${{COMP_WORDS[1]}} in\n",
                    fmt::join(names_of(all), " "));
    for (const auto& words : all)
        script += fmt::format("            {}) words='{}' ;;\n", words.command, fmt::join(words.next, " "));
    return script +
           "        esac\n    fi\n    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n}\n"
           "complete -o default -o bashdefault -F _atoll atoll\n";
}

std::string zsh_script(const std::vector<Words>& all) {
    std::string script =
        "#compdef atoll\n# atoll completion zsh > a folder of $fpath/_atoll\nif (( CURRENT == 2 )); then\n";
    script += "    local -a commands=(\n";
    for (const auto& words : all)
        script += fmt::format("        '{}:{}'\n", words.command, quoted(words.summary, ':'));
    script += "    )\n    _describe command commands\nelse\n    case ${words[2]} in\n";
    for (const auto& words : all)
        script += fmt::format("        {}) compadd -- {} ;;\n", words.command, fmt::join(words.next, " "));
    return script + "    esac\n    _files\nfi\n";
}

std::string fish_script(const std::vector<Words>& all) {
    std::string script = "# atoll completion fish > ~/.config/fish/completions/atoll.fish\n";
    for (const auto& words : all) {
        script += fmt::format("complete -c atoll -n __fish_use_subcommand -f -a {} -d '{}'\n", words.command,
                              quoted(words.summary));
        for (const auto& word : words.next) {
            script += fmt::format("complete -c atoll -n '__fish_seen_subcommand_from {}' {}\n", words.command,
                                  word.starts_with("--") ? "-l " + word.substr(2) : "-a " + word);
        }
    }
    return script;
}

class CompletionCommand : public Command {
  public:
    void declare(CLI::App& app) override {
        app.add_option("shell", shell_, "bash, zsh or fish")
            ->required()
            ->check(CLI::IsMember({"bash", "zsh", "fish"}));
    }

    Result<Outcome> run(Session& session) override {
        const auto all = all_words();
        const std::string script = shell_ == "bash"  ? bash_script(all)
                                   : shell_ == "zsh" ? zsh_script(all)
                                                     : fish_script(all);
        session.print(script);
        return Outcome{nlohmann::json{{"shell", shell_}, {"script", script}}.dump()};
    }

  private:
    std::string shell_;
};

}  // namespace

std::unique_ptr<Command> make_completion_command() { return std::make_unique<CompletionCommand>(); }

}  // namespace Atoll::node
