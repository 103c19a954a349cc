#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "model/io/checkpoint.h"
#include "model/io/hf_folder.h"
#include "model/io/llmc_bin.h"
#include "node/command.h"
#include "node/training.h"

namespace Atoll::node {

namespace {

// A Hugging Face folder or llm.c's model.bin to a folder of checkpoints with one at step 0: `train --init`
// begins from it.
class ImportCommand : public Command {
  public:
    void declare(CLI::App& app) override {
        app.add_option("path", path_, "Hugging Face folder, or model.bin of llm.c")
            ->required()
            ->type_name("PATH");
        app.add_option("--out", out_, "folder to make")->required()->type_name("DIR");
    }

    Result<Outcome> run(Session& session) override {
        ATOLL_ASSIGN(const model::HfModel model, std::filesystem::is_regular_file(path_)
                                                     ? model::read_llmc(path_)
                                                     : model::import_hf(path_));
        if (!model::list_checkpoints(out_).empty()) {
            return Error{
                ErrorCode::failed,
                fmt::format("{} holds checkpoints and is not overwritten: choose another --out", out_)};
        }
        std::error_code code;
        const std::filesystem::path tokenizer = std::filesystem::path(path_) / "tokenizer.json";
        ATOLL_ASSIGN(
            const auto written,
            model::save_checkpoint(out_,
                                   {.step = 0,
                                    .config = model.config,
                                    .layout = model.layout,
                                    .parameters = model.parameters.span(),
                                    .vectors = {},
                                    .state_json = "{}",
                                    .tokenizer = std::filesystem::exists(tokenizer, code) ? tokenizer : "",
                                    .provenance = {{"imported_from", path_}}},
                                   {}));
        session.print(fmt::format("{} parameters in {}; next: atoll train --init {}",
                                  model.layout.parameters(), written.string(), out_));
        return Outcome{
            nlohmann::json{{"path", written.string()},
                           {"parameters", model.layout.parameters()},
                           {"hash", to_hex(parameters_hash(model.layout, model.parameters.span()))}}
                .dump()};
    }

  private:
    std::string path_;
    std::string out_;
};

}  // namespace

std::unique_ptr<Command> make_import_command() { return std::make_unique<ImportCommand>(); }

}  // namespace Atoll::node
