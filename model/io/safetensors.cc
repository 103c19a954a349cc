#include "model/io/safetensors.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <tuple>

#include "base/check.h"
#include "model/io/json_text.h"

namespace Atoll::model {

using nlohmann::json;

namespace {

constexpr std::uint64_t kHeaderBytesMax = 100'000'000;  // the format's own limit
constexpr std::size_t kLengthBytes = sizeof(std::uint64_t);

Error corrupt(std::string what) { return {ErrorCode::corrupt, std::move(what)}; }

std::string printable(const std::string& name) {
    return json(name.substr(0, 200)).dump(-1, ' ', true, json::error_handler_t::replace);
}

Result<std::uint64_t> read_count(const json& value, const std::string& where) {
    if (!value.is_number_unsigned())
        return corrupt(fmt::format("{}: expected a non-negative integer", where));
    return value.get<std::uint64_t>();
}

// product(shape) * bits == 8 * (end - begin), without overflow.
Status check_size(const TensorEntry& tensor, const std::string& where) {
    std::uint64_t bits = dtype_bits(tensor.dtype);
    for (const std::int64_t dimension : tensor.shape) {
        if (__builtin_mul_overflow(bits, static_cast<std::uint64_t>(dimension), &bits)) {
            return corrupt(fmt::format("{}: its shape has more elements than a file can hold", where));
        }
    }
    if (bits % 8 != 0) return corrupt(fmt::format("{}: {} bits are no whole number of bytes", where, bits));
    if (bits / 8 != tensor.end - tensor.begin) {
        return corrupt(fmt::format("{}: shape and dtype make {} bytes, data_offsets {}", where, bits / 8,
                                   tensor.end - tensor.begin));
    }
    return {};
}

Result<TensorEntry> read_tensor(const std::string& name, const json& value) {
    const std::string where = fmt::format("tensor {}", printable(name));
    if (!value.is_object() || value.size() != 3 || !value.contains("dtype") || !value.contains("shape") ||
        !value.contains("data_offsets")) {
        return corrupt(fmt::format("{}: expected dtype, shape and data_offsets, nothing else", where));
    }
    const json& shape = value["shape"];
    const json& offsets = value["data_offsets"];
    const auto dtype =
        value["dtype"].is_string() ? find_dtype(value["dtype"].get_ref<const std::string&>()) : std::nullopt;
    if (!dtype) return corrupt(fmt::format("{}: unknown dtype", where));
    if (!shape.is_array()) return corrupt(fmt::format("{}: shape is not a list", where));
    if (!offsets.is_array() || offsets.size() != 2)
        return corrupt(fmt::format("{}: data_offsets is not a pair", where));
    TensorEntry tensor{name, *dtype, {}, 0, 0};
    for (const json& dimension : shape) {
        ATOLL_ASSIGN(const std::uint64_t size, read_count(dimension, where));
        if (size > std::uint64_t{1} << 62U) return corrupt(fmt::format("{}: a dimension of {}", where, size));
        tensor.shape.push_back(static_cast<std::int64_t>(size));
    }
    ATOLL_ASSIGN(tensor.begin, read_count(offsets[0], where));
    ATOLL_ASSIGN(tensor.end, read_count(offsets[1], where));
    if (tensor.begin > tensor.end)
        return corrupt(fmt::format("{}: data_offsets end before they begin", where));
    ATOLL_TRY(check_size(tensor, where));
    return tensor;
}

Status read_metadata(const json& value, std::map<std::string, std::string>& metadata) {
    if (!value.is_object()) return corrupt("__metadata__ is not a table");
    for (const auto& [key, text] : value.items()) {
        if (!text.is_string())
            return corrupt(fmt::format("__metadata__ {}: expected a text", printable(key)));
        metadata.emplace(key, text.get<std::string>());
    }
    return {};
}

// Sorted by offset the tensors must fill the data: no hole, no overlap, nothing left over.
Status check_coverage(std::vector<TensorEntry>& tensors, std::uint64_t data_bytes) {
    std::sort(tensors.begin(), tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
        return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
    });
    std::uint64_t expected = 0;
    for (const TensorEntry& tensor : tensors) {
        if (tensor.begin != expected) {
            return corrupt(
                fmt::format("tensor {} begins at byte {} of the data, but the one before ends at {}",
                            printable(tensor.name), tensor.begin, expected));
        }
        expected = tensor.end;
    }
    if (expected != data_bytes) {
        return corrupt(fmt::format(
            "the tensors take {} bytes, the file holds {}: cut off, or with something behind them", expected,
            data_bytes));
    }
    return {};
}

std::string header_text(const std::vector<TensorToWrite>& tensors,
                        const std::map<std::string, std::string>& metadata) {
    nlohmann::ordered_json info{{"format", "pt"}};
    for (const auto& [key, value] : metadata) info[key] = value;
    std::string text = "{\"__metadata__\":" + info.dump(-1, ' ', false, json::error_handler_t::replace);
    std::uint64_t offset = 0;
    for (const TensorToWrite& tensor : tensors) {
        const nlohmann::ordered_json entry{{"dtype", dtype_name(tensor.dtype)},
                                           {"shape", tensor.shape},
                                           {"data_offsets", {offset, offset + tensor.bytes()}}};
        text += "," + json(tensor.name).dump() + ":" + entry.dump();
        offset += tensor.bytes();
    }
    text += "}";
    text.resize((text.size() + 7) / 8 * 8, ' ');
    return text;
}

}  // namespace

std::uint64_t TensorEntry::elements() const {
    std::uint64_t count = 1;
    for (const std::int64_t dimension : shape) count *= static_cast<std::uint64_t>(dimension);
    return count;
}

Result<SafetensorsHeader> parse_safetensors(ByteView file) {
    std::uint64_t length = 0;
    if (file.size() < kLengthBytes)
        return corrupt(fmt::format("{} bytes, too short for a safetensors file", file.size()));
    std::memcpy(&length, file.data(), sizeof length);
    if (length > kHeaderBytesMax || length > file.size() - kLengthBytes) {
        return corrupt(
            fmt::format("the header should have {} bytes, the file has {}: cut off, or no safetensors file",
                        length, file.size()));
    }
    const std::string_view text(reinterpret_cast<const char*>(file.data()) + kLengthBytes, length);
    if (!text.starts_with('{')) return corrupt("the header does not begin with '{'");
    ATOLL_TRY(check_json_object(text, "the header"));
    const json root = json::parse(text, nullptr, false);
    SafetensorsHeader header;
    header.data_offset = kLengthBytes + length;
    for (const auto& [name, value] : root.items()) {
        if (name == "__metadata__") {
            ATOLL_TRY(read_metadata(value, header.metadata));
        } else {
            ATOLL_ASSIGN(TensorEntry tensor, read_tensor(name, value));
            header.tensors.push_back(std::move(tensor));
        }
    }
    ATOLL_TRY(check_coverage(header.tensors, file.size() - header.data_offset));
    return header;
}

Result<SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& path) {
    ATOLL_ASSIGN(MappedFile mapped, MappedFile::open(path));
    SafetensorsFile file(std::move(mapped), path);
    auto header = parse_safetensors(file.file_.view());
    if (!header) return header.error().within(path.string());
    file.header_ = std::move(*header);
    for (std::size_t i = 0; i < file.tensors().size(); ++i) file.index_.emplace(file.tensors()[i].name, i);
    return file;
}

const TensorEntry* SafetensorsFile::find(std::string_view name) const {
    const auto it = index_.find(name);
    return it == index_.end() ? nullptr : &header_.tensors[it->second];
}

ByteView SafetensorsFile::bytes(const TensorEntry& tensor) const {
    return file_.view().subspan(header_.data_offset + tensor.begin, tensor.end - tensor.begin);
}

Status SafetensorsFile::read(const TensorEntry& tensor, std::span<float> out) const {
    const auto where = [&] { return fmt::format("{}: tensor {}", path_.string(), printable(tensor.name)); };
    if (tensor.dtype != DType::f32 && tensor.dtype != DType::f16 && tensor.dtype != DType::bf16) {
        return Error{ErrorCode::invalid, fmt::format("{} has dtype {}; F32, F16 and BF16 can be read",
                                                     where(), dtype_name(tensor.dtype))};
    }
    if (tensor.elements() != out.size()) {
        return Error{ErrorCode::corrupt,
                     fmt::format("{} has {} elements, expected {}", where(), tensor.elements(), out.size())};
    }
    read_values(bytes(tensor), tensor.dtype, out);
    return {};
}

Result<Hash> write_safetensors(const std::filesystem::path& path, std::vector<TensorToWrite> tensors,
                               const std::map<std::string, std::string>& metadata) {
    std::sort(tensors.begin(), tensors.end(), [](const TensorToWrite& a, const TensorToWrite& b) {
        return a.dtype != b.dtype ? a.dtype > b.dtype : a.name < b.name;
    });
    const std::string header = header_text(tensors, metadata);
    const std::uint64_t length = header.size();
    ATOLL_ASSIGN(FileWriter file, FileWriter::create(path));
    HashStream hash;
    const auto append = [&](ByteView bytes) {
        hash.update(bytes);
        return file.append(bytes);
    };
    ATOLL_TRY(append(std::as_bytes(std::span(&length, 1))));
    ATOLL_TRY(append(as_byte_view(header)));
    for (const TensorToWrite& tensor : tensors) ATOLL_TRY(write_blocks(tensor, append));
    ATOLL_TRY(file.commit());
    return hash.finish();
}

}  // namespace Atoll::model
