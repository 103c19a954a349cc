#include "node/observe/append_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace Atoll::node {

Result<AppendFile> AppendFile::open(const std::filesystem::path& path) {
    std::error_code code;
    if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), code);
    AppendFile file;
    file.path_ = path;
    file.descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (file.descriptor_ < 0) {
        return Error{ErrorCode::failed, fmt::format("opening {}: {}", path.string(), std::strerror(errno))};
    }
    return file;
}

AppendFile::AppendFile(AppendFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

AppendFile::~AppendFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

Status AppendFile::append(ByteView record) {
    while (!record.empty()) {  // one write() but for a signal or a disk that fills up
        const ssize_t written = ::write(descriptor_, record.data(), record.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) {
            return Error{ErrorCode::failed,
                         fmt::format("writing {}: {}", path_.string(), std::strerror(errno))};
        }
        record = record.subspan(static_cast<std::size_t>(written));
    }
    return {};
}

}  // namespace Atoll::node
