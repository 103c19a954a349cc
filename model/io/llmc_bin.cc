#include "model/io/llmc_bin.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/files.h"
#include "model/architecture.h"

namespace Atoll::model {

namespace {

constexpr std::int32_t kMagic = 20240326;
constexpr std::int32_t kVersion = 3;  // fp32; 5 would be bf16
constexpr std::size_t kHeaderInts = 256;
constexpr std::int64_t kVocabularyMultiple = 128;

std::int64_t padded(std::int64_t vocabulary) {
    return (vocabulary + kVocabularyMultiple - 1) / kVocabularyMultiple * kVocabularyMultiple;
}

// The order of the file: the embeddings, then each tensor of a block for all layers in a row, then the last
// norm.
std::vector<std::string> tensor_order(const ModelConfig& config) {
    std::vector<std::string> names{"transformer.wte.weight", "transformer.wpe.weight"};
    for (const char* part : {"ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"}) {
        for (const char* kind : {"weight", "bias"}) {
            for (std::int64_t i = 0; i < config.layers; ++i)
                names.push_back(fmt::format("transformer.h.{}.{}.{}", i, part, kind));
        }
    }
    names.insert(names.end(), {"transformer.ln_f.weight", "transformer.ln_f.bias"});
    return names;
}

const kernels::TensorSlot& slot_of(const kernels::Layout& layout, const std::string& name) {
    const kernels::TensorSlot* slot = layout.find(name);
    ATOLL_CHECK(slot != nullptr);
    return *slot;
}

Error corrupt(const std::filesystem::path& path, const std::string& what) {
    return {ErrorCode::corrupt, fmt::format("{}: {}", path.string(), what)};
}

Result<ModelConfig> read_header(ByteView bytes, const std::filesystem::path& path) {
    std::array<std::int32_t, kHeaderInts> header{};
    if (bytes.size() < sizeof header)
        return corrupt(path, fmt::format("{} bytes, shorter than llm.c's header", bytes.size()));
    std::memcpy(header.data(), bytes.data(), sizeof header);
    if (header[0] != kMagic || header[1] != kVersion) {
        return corrupt(path, fmt::format("magic {} version {}: expected llm.c's fp32 GPT-2 ({}, {})",
                                         header[0], header[1], kMagic, kVersion));
    }
    ModelConfig config;
    config.family = "gpt2";
    config.context = header[2];
    config.vocabulary = header[3];
    config.layers = header[4];
    config.heads = config.kv_heads = header[5];
    config.width = header[6];
    config.inner = 4 * config.width;
    config.head_dim = config.heads > 0 ? config.width / config.heads : 0;
    const Status valid = validate(config);
    if (!valid) return corrupt(path, valid.error().message);
    if (header[7] != padded(config.vocabulary)) {
        return corrupt(path, fmt::format("padded vocabulary {} of {}: expected {}", header[7],
                                         config.vocabulary, padded(config.vocabulary)));
    }
    return config;
}

// Elements of the file behind the header, padding of the vocabulary included.
std::uint64_t stored_elements(const ModelConfig& config) {
    const auto v = static_cast<std::uint64_t>(padded(config.vocabulary));
    const auto c = static_cast<std::uint64_t>(config.width);
    const auto t = static_cast<std::uint64_t>(config.context);
    const auto l = static_cast<std::uint64_t>(config.layers);
    return (v + t) * c + l * (12 * c * c + 13 * c) + 2 * c;
}

}  // namespace

Result<HfModel> read_llmc(const std::filesystem::path& path) {
    ATOLL_ASSIGN(const MappedFile file, MappedFile::open(path));
    HfModel model;
    ATOLL_ASSIGN(model.config, read_header(file.view(), path));
    const std::uint64_t expected =
        kHeaderInts * sizeof(std::int32_t) + stored_elements(model.config) * sizeof(float);
    if (file.view().size() != expected) {
        return corrupt(path, fmt::format("{} bytes, its header makes it {}: copied incompletely?",
                                         file.view().size(), expected));
    }
    model.layout = make_layout(model.config);
    model.parameters = kernels::FlatBuffer(model.layout.size());
    const std::byte* source = file.view().data() + kHeaderInts * sizeof(std::int32_t);
    const std::size_t padding = static_cast<std::size_t>(
        (padded(model.config.vocabulary) - model.config.vocabulary) * model.config.width);
    for (const std::string& name : tensor_order(model.config)) {
        const kernels::TensorSlot& slot = slot_of(model.layout, name);
        std::memcpy(model.parameters.data() + slot.offset, source, slot.size * sizeof(float));
        source += slot.size * sizeof(float);
        if (name == "transformer.wte.weight") source += padding * sizeof(float);
    }
    return model;
}

Status write_llmc(const std::filesystem::path& path, const ModelConfig& config, const kernels::Layout& layout,
                  std::span<const float> parameters) {
    if (config.family != "gpt2" || !config.tied_head || config.inner != 4 * config.width) {
        return Error{
            ErrorCode::invalid,
            fmt::format("llm.c's model.bin holds GPT-2 with a tied head and an MLP of 4 times the width; "
                        "this model is {} "
                        "with {} head, width {} and inner {}; export --to hf takes any",
                        config.family, config.tied_head ? "a tied" : "its own", config.width, config.inner)};
    }
    ATOLL_ASSIGN(FileWriter file, FileWriter::create(path));
    const auto size = [](std::int64_t value) { return static_cast<std::int32_t>(value); };
    std::array<std::int32_t, kHeaderInts> header{};
    const std::array<std::int32_t, 8> fields{kMagic,
                                             kVersion,
                                             size(config.context),
                                             size(config.vocabulary),
                                             size(config.layers),
                                             size(config.heads),
                                             size(config.width),
                                             size(padded(config.vocabulary))};
    std::copy(fields.begin(), fields.end(), header.begin());
    ATOLL_TRY(file.append(std::as_bytes(std::span(header))));
    const std::vector<float> padding(
        static_cast<std::size_t>((padded(config.vocabulary) - config.vocabulary) * config.width));
    for (const std::string& name : tensor_order(config)) {
        const kernels::TensorSlot& slot = slot_of(layout, name);
        ATOLL_TRY(file.append(std::as_bytes(parameters.subspan(slot.offset, slot.size))));
        if (name == "transformer.wte.weight") ATOLL_TRY(file.append(std::as_bytes(std::span(padding))));
    }
    return file.commit();
}

}  // namespace Atoll::model
