// The safetensors format: named tensors in one file that can be mapped (docs/reference/model-formats.md).
// Reading refuses whatever the format forbids; writing follows the rules that other readers rely on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "base/hash.h"
#include "base/result.h"
#include "model/io/tensor_blocks.h"

namespace Atoll::model {

struct TensorEntry {
    std::string name;
    DType dtype = DType::f32;
    std::vector<std::int64_t> shape;
    std::uint64_t begin = 0;  // bytes, relative to the data
    std::uint64_t end = 0;

    [[nodiscard]] std::uint64_t elements() const;
};

struct SafetensorsHeader {
    std::uint64_t data_offset = 0;     // bytes before the data
    std::vector<TensorEntry> tensors;  // by offset
    std::map<std::string, std::string> metadata;
};
// What the bytes of a whole file say. Errors (corrupt): any violation of the format; names the tensor and the
// rule.
[[nodiscard]] Result<SafetensorsHeader> parse_safetensors(ByteView file);

// A file mapped read-only, its header checked. Movable; any number of threads may read it.
class SafetensorsFile {
  public:
    // Errors: unreadable, or as parse_safetensors() with the file's name in front.
    [[nodiscard]] static Result<SafetensorsFile> open(const std::filesystem::path& path);

    [[nodiscard]] const std::vector<TensorEntry>& tensors() const { return header_.tensors; }
    [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
    // nullptr if there is none.
    [[nodiscard]] const TensorEntry* find(std::string_view name) const;
    [[nodiscard]] ByteView bytes(const TensorEntry& tensor) const;
    // The values as floats. Errors: the tensor is of none of F32, F16, BF16, or has another number of
    // elements than `out`.
    [[nodiscard]] Status read(const TensorEntry& tensor, std::span<float> out) const;
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    // The whole file.
    [[nodiscard]] ByteView view() const { return file_.view(); }

  private:
    SafetensorsFile(MappedFile file, std::filesystem::path path)
        : file_(std::move(file)), path_(std::move(path)) {}
    MappedFile file_;
    std::filesystem::path path_;
    SafetensorsHeader header_;
    std::map<std::string, std::size_t, std::less<>> index_;  // position in header_.tensors by name
};

// Writes tensors (highest dtype first, then by name) with `metadata` besides "format": "pt", which readers
// ask for. Returns the hash of the file. Preconditions: names are unique, sizes match shapes. Errors: disk
// full and the like; no file then.
[[nodiscard]] Result<Hash> write_safetensors(const std::filesystem::path& path,
                                             std::vector<TensorToWrite> tensors,
                                             const std::map<std::string, std::string>& metadata = {});

}  // namespace Atoll::model
