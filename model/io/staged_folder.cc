#include "model/io/staged_folder.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <stdio.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "base/files.h"

namespace Atoll::model {

namespace fs = std::filesystem;

namespace {

fs::path parent_of(const fs::path& path) {
    return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

fs::path without_trailing_slash(const fs::path& path) {
    return path.has_filename() ? path : path.parent_path();
}

}  // namespace

Result<StagedFolder> StagedFolder::create(const fs::path& target) {
    StagedFolder folder;
    folder.target_ = without_trailing_slash(target);
    const fs::path path =
        parent_of(folder.target_) /
        fmt::format("{}{}-{}", kStagingPrefix, folder.target_.filename().string(), ::getpid());
    std::error_code code;
    fs::remove_all(path, code);
    if (!code) fs::create_directories(path, code);
    if (code)
        return Error{ErrorCode::failed, fmt::format("creating folder {}: {}", path.string(), code.message())};
    folder.path_ = path;
    return folder;
}

StagedFolder::StagedFolder(StagedFolder&& other) noexcept
    : target_(std::move(other.target_)), path_(std::exchange(other.path_, {})) {}

StagedFolder::~StagedFolder() {
    if (path_.empty()) return;
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

Status StagedFolder::commit() {
    ATOLL_TRY(sync_path(path_));
    std::error_code code;
    if (!fs::exists(target_, code)) {
        fs::rename(path_, target_, code);
        if (!code) path_.clear();
    } else if (::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) != 0) {
        // No exchange on this file system: for an instant neither is there, but the old one is only moved
        // aside.
        const fs::path aside = path_.string() + "-old";
        fs::rename(target_, aside, code);
        if (!code) fs::rename(path_, target_, code);
        std::error_code ignored;
        if (code) {
            fs::rename(aside, target_, ignored);
        } else {
            path_ = aside;
        }
    }
    if (code)
        return Error{ErrorCode::failed, fmt::format("renaming to {}: {}", target_.string(), code.message())};
    return sync_path(parent_of(target_));
}

void remove_leftovers(const fs::path& parent) {
    std::error_code ignored;
    std::vector<fs::path> leftovers;
    for (fs::directory_iterator it(parent, ignored), end; !ignored && it != end; it.increment(ignored)) {
        if (it->path().filename().string().starts_with(kStagingPrefix)) leftovers.push_back(it->path());
    }
    for (const fs::path& path : leftovers) fs::remove_all(path, ignored);
}

}  // namespace Atoll::model
