// Files that are complete or absent: atomic writes, whole reads with a bound, read-only mappings, locks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace Atoll {

// Errors: not_found, too large (> bytes_max), read failure. The message names the path.
[[nodiscard]] Result<Bytes> read_file(const std::filesystem::path& path, std::uint64_t bytes_max);
[[nodiscard]] Result<std::string> read_text(const std::filesystem::path& path,
                                            std::uint64_t bytes_max = 64ULL << 20U);

// Writes a sibling temporary file, fsyncs it, renames it over `path` and fsyncs the folder: after a crash at
// any instant `path` holds the old or the new content. Creates missing parent folders. `mode` as in chmod.
[[nodiscard]] Status write_file(const std::filesystem::path& path, ByteView bytes, unsigned mode = 0644);
[[nodiscard]] Status write_file(const std::filesystem::path& path, std::string_view text,
                                unsigned mode = 0644);

// fsync of a file or a folder.
[[nodiscard]] Status sync_path(const std::filesystem::path& path);

// A whole file mapped read-only; views stay valid as long as the object (movable, not copyable).
class MappedFile {
  public:
    [[nodiscard]] static Result<MappedFile> open(const std::filesystem::path& path);
    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&& other) noexcept;
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;
    ~MappedFile();
    [[nodiscard]] ByteView view() const { return view_; }

  private:
    MappedFile() = default;
    ByteView view_;
};

// Appends to a file until close(): for outputs too large to hold in memory. Written to `path + ".tmp"`,
// renamed by commit(); an uncommitted one is removed by the destructor.
class FileWriter {
  public:
    [[nodiscard]] static Result<FileWriter> create(const std::filesystem::path& path);
    FileWriter(FileWriter&& other) noexcept;
    FileWriter& operator=(FileWriter&&) = delete;
    FileWriter(const FileWriter&) = delete;
    FileWriter& operator=(const FileWriter&) = delete;
    ~FileWriter();
    [[nodiscard]] Status append(ByteView bytes);
    [[nodiscard]] Status overwrite(std::uint64_t offset, ByteView bytes);
    [[nodiscard]] Status commit();

  private:
    FileWriter() = default;
    std::filesystem::path path_;
    int descriptor_ = -1;
};

// An exclusive advisory lock on `path` (created if absent), held until destruction.
class FileLock {
  public:
    // Errors: unavailable if another process holds it (the message names its pid), failed otherwise.
    [[nodiscard]] static Result<FileLock> acquire(const std::filesystem::path& path);
    FileLock(FileLock&& other) noexcept;
    FileLock& operator=(FileLock&&) = delete;
    FileLock(const FileLock&) = delete;
    FileLock& operator=(const FileLock&) = delete;
    ~FileLock();

  private:
    FileLock() = default;
    int descriptor_ = -1;
};

}  // namespace Atoll
