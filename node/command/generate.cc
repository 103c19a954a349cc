#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "node/command.h"
#include "node/config.h"
#include "node/sampling.h"

namespace Atoll::node {

namespace {

class GenerateCommand : public Command {
  public:
    void declare(CLI::App& app) override {
        app.add_option("--model", model_, "run folder, checkpoint or Hugging Face folder")
            ->required()
            ->type_name("DIR");
        app.add_option("--prompt", request_.prompt, "text to continue")->required()->type_name("TEXT");
        app.add_option("--tokens", request_.tokens, "tokens to generate at most")
            ->capture_default_str()
            ->check(CLI::PositiveNumber);
        app.add_option("--temperature", request_.temperature, "0: always the likeliest token")
            ->capture_default_str()
            ->check(CLI::NonNegativeNumber);
    }

    bool watches_stop() const override { return true; }

    Result<Outcome> run(Session& session) override {
        ATOLL_ASSIGN(const auto config, load_config(session.flags()));
        request_.seed = static_cast<std::uint64_t>(config->run.run.seed);
        ATOLL_ASSIGN(const Sample sample, sample_text(model_, request_, config->local, session.stop()));
        session.print(request_.prompt + sample.text);
        return Outcome{nlohmann::json{{"text", sample.text},
                                      {"prompt", request_.prompt},
                                      {"tokens", sample.tokens},
                                      {"tokens_per_second", sample.tokens_per_second}}
                           .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)};
    }

  private:
    std::string model_;
    SampleRequest request_;
};

}  // namespace

std::unique_ptr<Command> make_generate_command() { return std::make_unique<GenerateCommand>(); }

}  // namespace Atoll::node
