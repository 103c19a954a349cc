// A file that only grows, each record by one write(), so that a crash can tear the last record and no other.
#pragma once

#include <filesystem>

#include "base/bytes.h"
#include "base/result.h"

namespace Atoll::node {

class AppendFile {
  public:
    // Creates the file and its folder where needed; otherwise continues it.
    [[nodiscard]] static Result<AppendFile> open(const std::filesystem::path& path);
    AppendFile(AppendFile&& other) noexcept;
    AppendFile& operator=(AppendFile&&) = delete;
    AppendFile(const AppendFile&) = delete;
    AppendFile& operator=(const AppendFile&) = delete;
    ~AppendFile();

    [[nodiscard]] Status append(ByteView record);

  private:
    AppendFile() = default;
    std::filesystem::path path_;
    int descriptor_ = -1;
};

}  // namespace Atoll::node
