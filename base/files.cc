#include "base/files.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace Atoll {

namespace fs = std::filesystem;

namespace {

Error system_error(std::string_view action, const fs::path& path) {
    const int code = errno;
    return {code == ENOENT ? ErrorCode::not_found : ErrorCode::failed,
            fmt::format("{} {}: {}", action, path.string(), std::strerror(code))};
}

Status write_all(int descriptor, ByteView bytes, const fs::path& path) {
    while (!bytes.empty()) {
        const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
        if (written < 0) {
            if (errno == EINTR) continue;
            return system_error("writing", path);
        }
        bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return {};
}

fs::path temporary_name(const fs::path& path) {
    return fs::path(path.string() + fmt::format(".tmp{}", ::getpid()));
}

Status make_parent(const fs::path& path) {
    if (!path.has_parent_path()) return {};
    std::error_code code;
    fs::create_directories(path.parent_path(), code);
    if (code)
        return Error{ErrorCode::failed,
                     fmt::format("creating folder {}: {}", path.parent_path().string(), code.message())};
    return {};
}

Status rename_and_sync(const fs::path& from, const fs::path& to) {
    if (::rename(from.c_str(), to.c_str()) != 0) return system_error("renaming to", to);
    return sync_path(to.has_parent_path() ? to.parent_path() : fs::path("."));
}

}  // namespace

Result<Bytes> read_file(const fs::path& path, std::uint64_t bytes_max) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return system_error("opening", path);
    struct stat info {};
    if (::fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
        ::close(descriptor);
        return Error{ErrorCode::failed, fmt::format("{} is not a regular file", path.string())};
    }
    const auto size = static_cast<std::uint64_t>(info.st_size);
    if (size > bytes_max) {
        ::close(descriptor);
        return Error{ErrorCode::failed, fmt::format("{} has {} bytes, more than the {} allowed",
                                                    path.string(), size, bytes_max)};
    }
    Bytes bytes(size);
    std::size_t done = 0;
    while (done < bytes.size()) {
        const ssize_t count = ::read(descriptor, bytes.data() + done, bytes.size() - done);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) {
            const Error error = count < 0 ? system_error("reading", path)
                                          : Error{ErrorCode::corrupt,
                                                  fmt::format("{} shrank while it was read", path.string())};
            ::close(descriptor);
            return error;
        }
        done += static_cast<std::size_t>(count);
    }
    ::close(descriptor);
    return bytes;
}

Result<std::string> read_text(const fs::path& path, std::uint64_t bytes_max) {
    ATOLL_ASSIGN(const Bytes bytes, read_file(path, bytes_max));
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Status write_file(const fs::path& path, ByteView bytes, unsigned mode) {
    ATOLL_TRY(make_parent(path));
    const fs::path temporary = temporary_name(path);
    const int descriptor =
        ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, static_cast<mode_t>(mode));
    if (descriptor < 0) return system_error("creating", temporary);
    Status status = write_all(descriptor, bytes, path);
    if (status && ::fsync(descriptor) != 0) status = system_error("syncing", path);
    if (::close(descriptor) != 0 && status) status = system_error("closing", path);
    if (status) status = rename_and_sync(temporary, path);
    if (!status) ::unlink(temporary.c_str());
    return status;
}

Status write_file(const fs::path& path, std::string_view text, unsigned mode) {
    return write_file(path, as_byte_view(text), mode);
}

Status sync_path(const fs::path& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return system_error("opening", path);
    const int result = ::fsync(descriptor);
    const Error error = result == 0 ? Error{} : system_error("syncing", path);
    ::close(descriptor);
    if (result != 0) return error;
    return {};
}

Result<MappedFile> MappedFile::open(const fs::path& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return system_error("opening", path);
    struct stat info {};
    if (::fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
        ::close(descriptor);
        return Error{ErrorCode::failed, fmt::format("{} is not a regular file", path.string())};
    }
    MappedFile file;
    if (info.st_size > 0) {
        const auto size = static_cast<std::size_t>(info.st_size);
        void* address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, 0);
        if (address == MAP_FAILED) {
            const Error error = system_error("mapping", path);
            ::close(descriptor);
            return error;
        }
        file.view_ = {static_cast<const std::byte*>(address), size};
    }
    ::close(descriptor);
    return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept : view_(std::exchange(other.view_, {})) {}
MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
    std::swap(view_, other.view_);
    return *this;
}
MappedFile::~MappedFile() {
    if (!view_.empty()) ::munmap(const_cast<std::byte*>(view_.data()), view_.size());
}

Result<FileWriter> FileWriter::create(const fs::path& path) {
    ATOLL_TRY(make_parent(path));
    FileWriter writer;
    writer.path_ = path;
    writer.descriptor_ = ::open(temporary_name(path).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (writer.descriptor_ < 0) return system_error("creating", path);
    return writer;
}

FileWriter::FileWriter(FileWriter&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

FileWriter::~FileWriter() {
    if (descriptor_ < 0) return;
    ::close(descriptor_);
    ::unlink(temporary_name(path_).c_str());
}

Status FileWriter::append(ByteView bytes) { return write_all(descriptor_, bytes, path_); }

Status FileWriter::overwrite(std::uint64_t offset, ByteView bytes) {
    while (!bytes.empty()) {
        const ssize_t written = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (written < 0) {
            if (errno == EINTR) continue;
            return system_error("writing", path_);
        }
        offset += static_cast<std::uint64_t>(written);
        bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return {};
}

Status FileWriter::commit() {
    if (::fsync(descriptor_) != 0) return system_error("syncing", path_);
    const int result = ::close(std::exchange(descriptor_, -1));
    Status status = result == 0 ? Status{} : Status{system_error("closing", path_)};
    if (status) status = rename_and_sync(temporary_name(path_), path_);
    if (!status) ::unlink(temporary_name(path_).c_str());
    return status;
}

Result<FileLock> FileLock::acquire(const fs::path& path) {
    ATOLL_TRY(make_parent(path));
    FileLock lock;
    lock.descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock.descriptor_ < 0) return system_error("opening", path);
    if (::flock(lock.descriptor_, LOCK_EX | LOCK_NB) != 0) {
        char holder[32] = {};
        const ssize_t count = ::pread(lock.descriptor_, holder, sizeof holder - 1, 0);
        return Error{ErrorCode::unavailable, fmt::format("{} is in use by another process{}{}", path.string(),
                                                         count > 0 ? " with pid " : "", holder)};
    }
    const std::string pid = std::to_string(::getpid());
    if (::ftruncate(lock.descriptor_, 0) != 0 || ::pwrite(lock.descriptor_, pid.data(), pid.size(), 0) < 0) {
        return system_error("writing", path);
    }
    return lock;
}

FileLock::FileLock(FileLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
FileLock::~FileLock() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace Atoll
