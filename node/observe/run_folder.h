// The folder of a run: run.toml, meta.json, metrics.jsonl, tb/, node.log, checkpoint/, summary.json,
// report.html (docs/reference/run-folder.md).
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "base/files.h"
#include "base/result.h"
#include "node/observe/event.h"

namespace Atoll::node {

struct Config;

struct RunFolderRequest {
    std::filesystem::path runs;    // where folders are made: <runs>/<name>/<utc>-<peer>
    std::filesystem::path folder;  // or this very folder, if not empty
    std::string name;
    std::string peer;  // short id
    std::string
        lineage;  // a folder is continued only if its own is the same: the run id, or what stands for it
    bool fresh = false;      // do not continue an earlier folder
    bool overwrite = false;  // with fresh: clear `folder` if it holds a run
};

class RunFolder {
  public:
    // The newest folder of the same lineage, or a new one. Locked until destruction. Errors: unavailable
    // (another process uses it), invalid (`folder` holds a run of another lineage, or a run at all and
    // `fresh` without `overwrite`), failed (disk).
    [[nodiscard]] static Result<RunFolder> open(const RunFolderRequest& request);

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    [[nodiscard]] std::filesystem::path checkpoints() const { return path_ / "checkpoint"; }
    [[nodiscard]] std::filesystem::path log_file() const { return path_ / "node.log"; }
    // An earlier process worked here.
    [[nodiscard]] bool continued() const { return continued_; }

    // run.toml with comments and origins, and meta.json; `parent` is the checkpoint that this process
    // continues.
    [[nodiscard]] Status describe(const Config& config, const std::string& run,
                                  const std::string& parent) const;
    // metrics.jsonl and, if wanted, TensorBoard events.
    [[nodiscard]] Result<std::unique_ptr<EventSink>> events(bool tensorboard) const;
    // summary.json: the final numbers, a JSON object's text.
    [[nodiscard]] Status summarize(const std::string& json) const;

  private:
    RunFolder(std::filesystem::path path, FileLock lock, bool continued)
        : path_(std::move(path)), lock_(std::move(lock)), continued_(continued) {}
    std::filesystem::path path_;
    FileLock lock_;
    bool continued_;
};

// The processor's name ("AMD EPYC 9V74"), or "unknown".
[[nodiscard]] std::string cpu_model();

}  // namespace Atoll::node
