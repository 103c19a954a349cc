// A folder that appears under its name complete, or not at all.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/result.h"

namespace Atoll::model {

inline constexpr std::string_view kStagingPrefix = ".tmp-";

// Files are written into a hidden sibling of `target` (path()), which commit() puts in its place; without
// commit() the destructor removes it. What a killed process leaves behind is removed by remove_leftovers().
class StagedFolder {
  public:
    // Errors: the sibling cannot be created.
    [[nodiscard]] static Result<StagedFolder> create(const std::filesystem::path& target);
    StagedFolder(StagedFolder&& other) noexcept;
    StagedFolder& operator=(StagedFolder&&) = delete;
    StagedFolder(const StagedFolder&) = delete;
    StagedFolder& operator=(const StagedFolder&) = delete;
    ~StagedFolder();

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    // Syncs the folder, renames it to `target` and syncs the parent. A folder already there is replaced (in
    // one step where the file system can exchange names) and removed.
    [[nodiscard]] Status commit();

  private:
    StagedFolder() = default;
    std::filesystem::path target_;
    std::filesystem::path path_;  // empty: nothing to remove
};

// Removes staging folders below `parent`. Call it only where no other process writes.
void remove_leftovers(const std::filesystem::path& parent);

}  // namespace Atoll::model
