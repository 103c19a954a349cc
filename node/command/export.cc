#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "model/io/gguf.h"
#include "model/io/hf_folder.h"
#include "model/io/llmc_bin.h"
#include "node/command.h"
#include "node/model_folder.h"

namespace Atoll::node {

namespace {

namespace fs = std::filesystem;

struct ExportRequest {
    fs::path folder;  // the model's, with its tokenizer.json if there is one
    fs::path out;
    model::DType dtype = model::DType::f32;
};

// The folder of the model if it has a tokenizer, else none.
fs::path tokenizer_of(const ExportRequest& request) {
    std::error_code code;
    return fs::exists(request.folder / "tokenizer.json", code) ? request.folder : fs::path();
}

Status write_hf(const model::HfModel& model, const ExportRequest& request) {
    model::HfExport options;
    options.dtype = request.dtype;
    options.tokenizer = tokenizer_of(request);
    return model::export_hf(request.out, model.config, model.layout, model.parameters.span(), options);
}

Status write_gguf(const model::HfModel& model, const ExportRequest& request) {
    if (request.dtype == model::DType::bf16)
        return Error{ErrorCode::invalid, "--to gguf --dtype bf16: expected f32 or f16"};
    const std::string name = request.out.stem().string();
    return model::write_gguf(request.out, model.config, model.layout, model.parameters.span(),
                             {.dtype = request.dtype, .name = name, .tokenizer = tokenizer_of(request)});
}

Status write_llmc(const model::HfModel& model, const ExportRequest& request) {
    if (request.dtype != model::DType::f32)
        return Error{ErrorCode::invalid, "--to llmc: its model.bin is f32 only; leave --dtype out"};
    return model::write_llmc(request.out, model.config, model.layout, model.parameters.span());
}

struct Format {
    std::string_view name;
    Status (*write)(const model::HfModel& model, const ExportRequest& request);
};

constexpr Format kFormats[] = {{"hf", write_hf}, {"gguf", write_gguf}, {"llmc", write_llmc}};

class ExportCommand : public Command {
  public:
    void declare(CLI::App& app) override {
        std::vector<std::string> names;
        for (const auto& format : kFormats) names.emplace_back(format.name);
        app.add_option("--to", format_,
                       "hf: a Hugging Face folder; gguf: for llama.cpp; llmc: llm.c's model.bin")
            ->required()
            ->check(CLI::IsMember(names));
        app.add_option("--model", model_, "run folder, checkpoint or Hugging Face folder")
            ->required()
            ->type_name("DIR");
        app.add_option("--out", out_, "folder or file to write")->required()->type_name("PATH");
        app.add_option("--dtype", dtype_, "of the weights")
            ->capture_default_str()
            ->check(CLI::IsMember({"f32", "bf16", "f16"}));
    }

    Result<Outcome> run(Session& session) override {
        if (fs::exists(out_)) {
            return Error{
                ErrorCode::failed,
                fmt::format("{} exists and is not overwritten: remove it, or choose another --out", out_)};
        }
        ATOLL_ASSIGN(const auto folder, find_model(model_));
        ATOLL_ASSIGN(const model::HfModel model, model::import_hf(folder));
        const ExportRequest request{folder, out_,
                                    dtype_ == "bf16"  ? model::DType::bf16
                                    : dtype_ == "f16" ? model::DType::f16
                                                      : model::DType::f32};
        for (const auto& format : kFormats) {
            if (format.name == format_) ATOLL_TRY(format.write(model, request));
        }
        session.print(fmt::format("{} parameters in {}", model.layout.parameters(), out_));
        return Outcome{nlohmann::json{{"path", out_}, {"parameters", model.layout.parameters()}}.dump()};
    }

  private:
    std::string format_;
    std::string model_;
    std::string out_;
    std::string dtype_ = "f32";
};

}  // namespace

std::unique_ptr<Command> make_export_command() { return std::make_unique<ExportCommand>(); }

}  // namespace Atoll::node
