#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "model/data/loader.h"
#include "model/data/prepare.h"
#include "model/data/token_file.h"
#include "node/command.h"
#include "node/observe/progress.h"

namespace Atoll::node {

namespace {

class DataCommand : public Command {
  public:
    void declare(CLI::App& app) override {
        app.require_subcommand(1);
        prepare_ = app.add_subcommand("prepare", "text files to a folder of token shards");
        prepare_->add_option("--input", inputs_, "text files, or folders of them")
            ->required()
            ->type_name("FILE");
        prepare_->add_option("--out", options_.out, "folder to make")->required()->type_name("DIR");
        prepare_->add_option("--tokenizer", options_.tokenizer, "byte, bpe:N or a tokenizer.json")
            ->capture_default_str();
        prepare_->add_option("--held-out", options_.held_out, "fraction of the text kept for evaluation")
            ->capture_default_str();
        prepare_->add_option("--shard-tokens", options_.shard_tokens, "tokens of a shard")
            ->capture_default_str();
        prepare_->add_option("--name", options_.name, "first part of the shards' names")
            ->capture_default_str();
        CLI::App* inspect = app.add_subcommand("inspect", "what a folder of shards holds");
        inspect->add_option("source", source_, "folder, shard or glob")->required()->type_name("DIR");
    }

    bool watches_stop() const override { return true; }

    Result<Outcome> run(Session& session) override {
        return prepare_->parsed() ? prepare(session) : inspect(session);
    }

  private:
    Result<Outcome> prepare(Session& session) {
        options_.inputs.assign(inputs_.begin(), inputs_.end());
        Progress progress(session.flags().quiet);
        options_.progress = [&](std::uint64_t bytes, std::uint64_t bytes_total) {
            progress.show(fmt::format("{}B of {}B of text", short_number(static_cast<double>(bytes)),
                                      short_number(static_cast<double>(bytes_total))));
            return !session.stop().requested();
        };
        ATOLL_ASSIGN(const auto report, model::prepare_data(options_));
        session.print(fmt::format("{} tokens ({} to train on, {} held out), vocabulary {}, in {}",
                                  report.tokens, report.train_tokens, report.val_tokens, report.vocabulary,
                                  options_.out.string()));
        return Outcome{nlohmann::json{{"tokens", report.tokens},
                                      {"train_tokens", report.train_tokens},
                                      {"val_tokens", report.val_tokens},
                                      {"vocab_size", report.vocabulary},
                                      {"shards", report.shards},
                                      {"path", options_.out.string()}}
                           .dump()};
    }

    Result<Outcome> inspect(Session& session) {
        ATOLL_ASSIGN(const auto paths, model::find_shards(source_));
        nlohmann::json shards = nlohmann::json::array();
        std::uint64_t tokens = 0;
        for (const auto& path : paths) {
            ATOLL_ASSIGN(const auto shard, model::TokenFile::open(path));
            const int bytes = shard.width() == model::TokenWidth::bits16 ? 2 : 4;
            session.print(fmt::format("{:>14} tokens of {} bytes  {}", shard.size(), bytes, path.string()));
            shards.push_back({{"path", path.string()}, {"tokens", shard.size()}, {"token_bytes", bytes}});
            tokens += shard.size();
        }
        return Outcome{nlohmann::json{{"tokens", tokens}, {"shards", std::move(shards)}}.dump()};
    }

    CLI::App* prepare_ = nullptr;
    std::vector<std::string> inputs_;
    model::PrepareOptions options_;
    std::string source_;
};

}  // namespace

std::unique_ptr<Command> make_data_command() { return std::make_unique<DataCommand>(); }

}  // namespace Atoll::node
