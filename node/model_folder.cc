#include "node/model_folder.h"

#include <fmt/core.h>

#include "model/io/checkpoint.h"

namespace Atoll::node {

namespace fs = std::filesystem;

Result<fs::path> find_model(const fs::path& path) {
    std::error_code code;
    if (!fs::exists(path, code))
        return Error{ErrorCode::not_found, fmt::format("{} does not exist", path.string())};
    if (fs::exists(path / "config.json", code)) return path;
    for (const fs::path& folder : {path, path / "checkpoint"}) {
        if (!model::list_checkpoints(folder).empty()) {
            ATOLL_ASSIGN(const auto checkpoint, model::open_newest_checkpoint(folder));
            return checkpoint.path();
        }
    }
    return Error{
        ErrorCode::not_found,
        fmt::format("{} holds no model: expected config.json (a Hugging Face folder), step-* folders "
                    "(checkpoints) or checkpoint/ (a run folder)",
                    path.string())};
}

Result<std::unique_ptr<model::Tokenizer>> tokenizer_of(const fs::path& folder, std::int64_t vocabulary) {
    if (!fs::exists(folder / "tokenizer.json") && vocabulary == 256) return model::make_byte_tokenizer();
    return model::load_tokenizer(folder);
}

}  // namespace Atoll::node
