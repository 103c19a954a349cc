#include "node/observe/run_folder.h"

#include <fmt/chrono.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "node/build_info.h"
#include "node/config.h"
#include "node/observe/jsonl.h"
#include "node/observe/tfevents.h"

namespace Atoll::node {

namespace fs = std::filesystem;

namespace {

constexpr const char* kLineageFile = ".lineage";
constexpr const char* kLockFile = ".lock";

// The lineage of the run in `folder`; "" if there is none.
std::string lineage_of(const fs::path& folder) {
    const auto text = read_text(folder / kLineageFile, 4096);
    return text ? *text : "";
}

bool is_vacant(const fs::path& folder) {
    std::error_code code;
    return !fs::exists(folder, code) || fs::is_empty(folder, code);
}

// The newest folder of this lineage: names begin with the time, so the last in order.
fs::path newest(const RunFolderRequest& request) {
    fs::path best;
    std::error_code code;
    for (const auto& entry : fs::directory_iterator(request.runs / request.name, code)) {
        const std::string name = entry.path().filename();
        if (name.find("-" + request.peer) == std::string::npos || lineage_of(entry.path()) != request.lineage)
            continue;
        if (best.empty() || name > best.filename().string()) best = entry.path();
    }
    return best;
}

// A name that nobody has yet: claimed by creating the folder.
Result<fs::path> create_stamped(const RunFolderRequest& request) {
    const fs::path parent = request.runs / request.name;
    std::error_code code;
    fs::create_directories(parent, code);
    if (code)
        return Error{ErrorCode::failed,
                     fmt::format("creating folder {}: {}", parent.string(), code.message())};
    const std::string stem =
        fmt::format("{:%Y%m%dT%H%M%SZ}-{}", fmt::gmtime(std::time(nullptr)), request.peer);
    for (int attempt = 1; attempt < 1000; ++attempt) {
        const fs::path path = parent / (attempt == 1 ? stem : fmt::format("{}-{}", stem, attempt));
        if (fs::create_directory(path, code)) return path;
        if (code)
            return Error{ErrorCode::failed,
                         fmt::format("creating folder {}: {}", path.string(), code.message())};
    }
    return Error{ErrorCode::failed, fmt::format("{} holds a thousand runs of this second", parent.string())};
}

Status clear(const fs::path& folder) {
    std::error_code code;
    for (const auto& entry : fs::directory_iterator(folder, code)) {
        if (entry.path().filename() != kLockFile) fs::remove_all(entry.path(), code);
        if (code)
            return Error{ErrorCode::failed,
                         fmt::format("removing {}: {}", entry.path().string(), code.message())};
    }
    return {};
}

Status check_lineage(const RunFolderRequest& request, const fs::path& path, const std::string& lineage) {
    if (request.fresh) {
        if (request.overwrite || lineage.empty()) return {};
        return Error{
            ErrorCode::invalid,
            fmt::format("{} holds a run and --fresh overwrites nothing: choose another local.folder, or add "
                        "--overwrite to delete what is there",
                        path.string())};
    }
    if (lineage.empty() || lineage == request.lineage) return {};
    return Error{ErrorCode::invalid,
                 fmt::format("{} holds a run with another configuration (its run.toml): continue it with "
                             "that one, or choose another local.folder",
                             path.string())};
}

}  // namespace

Result<RunFolder> RunFolder::open(const RunFolderRequest& request) {
    fs::path path = request.folder;
    if (path.empty() && !request.fresh) path = newest(request);
    if (path.empty()) {
        ATOLL_ASSIGN(path, create_stamped(request));
    }
    if (!is_vacant(path) && lineage_of(path).empty() && !fs::exists(path / kLockFile)) {
        return Error{
            ErrorCode::invalid,
            fmt::format("{} is not empty and holds no run: choose another local.folder", path.string())};
    }
    ATOLL_ASSIGN(FileLock lock, FileLock::acquire(path / kLockFile));
    const std::string lineage = lineage_of(path);
    ATOLL_TRY(check_lineage(request, path, lineage));
    const bool continued = !lineage.empty() && !request.fresh;
    if (!continued) {
        ATOLL_TRY(clear(path));
        ATOLL_TRY(write_file(path / kLineageFile, std::string_view(request.lineage)));
    }
    return RunFolder(path, std::move(lock), continued);
}

Status RunFolder::describe(const Config& config, const std::string& run, const std::string& parent) const {
    std::array<char, 256> host{};
    ::gethostname(host.data(), host.size() - 1);
    const nlohmann::ordered_json meta = {
        {"version", build_info().version},
        {"commit", build_info().commit},
        {"compiler", build_info().compiler},
        {"build_flags", build_info().flags},
        {"host", host.data()},
        {"cpu", cpu_model()},
        {"device", config.local.device},
        {"threads", compute_threads(config.local)},
        {"name", config.local.name},
        {"run", run},
        {"pid", ::getpid()},
        {"started", iso8601(unix_now())},
        {"parent_checkpoint", parent},
    };
    ATOLL_TRY(write_file(path_ / "run.toml", std::string_view(config.options.to_toml(true))));
    return write_file(
        path_ / "meta.json",
        std::string_view(meta.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"));
}

Result<std::unique_ptr<EventSink>> RunFolder::events(bool tensorboard) const {
    auto sinks = std::make_unique<EventFanout>();
    ATOLL_ASSIGN(auto jsonl, open_jsonl(path_ / "metrics.jsonl"));
    sinks->add(std::move(jsonl));
    if (tensorboard) {
        ATOLL_ASSIGN(auto tfevents, open_tfevents(path_ / "tb"));
        sinks->add(std::move(tfevents));
    }
    return std::unique_ptr<EventSink>(std::move(sinks));
}

Status RunFolder::summarize(const std::string& json) const {
    return write_file(path_ / "summary.json", std::string_view(json + "\n"));
}

std::string cpu_model() {
    std::ifstream stream("/proc/cpuinfo");
    for (std::string line; std::getline(stream, line);) {
        if (line.starts_with("model name")) return line.substr(std::min(line.find(": ") + 2, line.size()));
    }
    return "unknown";
}

}  // namespace Atoll::node
