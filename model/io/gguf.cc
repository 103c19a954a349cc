#include "model/io/gguf.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/files.h"
#include "model/tokenizer/tokenizer.h"

namespace Atoll::model {

namespace {

constexpr std::uint32_t kVersion = 3;
constexpr std::uint64_t kAlignment = 32;  // the default, which the file states too

// Value types of the metadata.
enum class Type : std::uint32_t { u32 = 4, i32 = 5, f32 = 6, boolean = 7, text = 8, array = 9 };
// Kinds of tokens for tokenizer.ggml.token_type.
constexpr std::int32_t kNormalToken = 1, kControlToken = 3, kUnusedToken = 5;

// Bytes of the file's head as they come to be.
class Head {
  public:
    template <typename T>
    void raw(T value) {
        const auto* bytes = reinterpret_cast<const char*>(&value);
        bytes_.append(bytes, sizeof value);
    }
    void text(std::string_view value) {
        raw<std::uint64_t>(value.size());
        bytes_.append(value);
    }
    [[nodiscard]] std::string& bytes() { return bytes_; }

  private:
    std::string bytes_;
};

// Key-value pairs, counted.
class Metadata {
  public:
    void set(const std::string& key, std::string_view value) {
        begin(key, Type::text);
        head_.text(value);
    }
    void set(const std::string& key, std::int64_t value) {
        begin(key, Type::u32);
        head_.raw(static_cast<std::uint32_t>(value));
    }
    void set(const std::string& key, double value) {
        begin(key, Type::f32);
        head_.raw(static_cast<float>(value));
    }
    void set(const std::string& key, bool value) {
        begin(key, Type::boolean);
        head_.raw(static_cast<std::uint8_t>(value ? 1 : 0));
    }
    void set(const std::string& key, const std::vector<std::string>& values) {
        array(key, Type::text, values.size());
        for (const std::string& value : values) head_.text(value);
    }
    void set(const std::string& key, const std::vector<std::int32_t>& values) {
        array(key, Type::i32, values.size());
        for (const std::int32_t value : values) head_.raw(value);
    }
    [[nodiscard]] std::uint64_t count() const { return count_; }
    [[nodiscard]] const std::string& bytes() { return head_.bytes(); }

  private:
    void begin(const std::string& key, Type type) {
        ++count_;
        head_.text(key);
        head_.raw(static_cast<std::uint32_t>(type));
    }
    void array(const std::string& key, Type type, std::size_t size) {
        begin(key, Type::array);
        head_.raw(static_cast<std::uint32_t>(type));
        head_.raw<std::uint64_t>(size);
    }
    Head head_;
    std::uint64_t count_ = 0;
};

struct Rename {
    std::string_view from;
    std::string_view to;
};
// Parts of a block, for both families (their names do not collide).
constexpr std::array<Rename, 17> kBlockNames{{{"ln_1.", "attn_norm."},
                                              {"attn.c_attn.", "attn_qkv."},
                                              {"attn.c_proj.", "attn_output."},
                                              {"ln_2.", "ffn_norm."},
                                              {"mlp.c_fc.", "ffn_up."},
                                              {"mlp.c_proj.", "ffn_down."},
                                              {"input_layernorm.", "attn_norm."},
                                              {"self_attn.q_proj.", "attn_q."},
                                              {"self_attn.k_proj.", "attn_k."},
                                              {"self_attn.v_proj.", "attn_v."},
                                              {"self_attn.o_proj.", "attn_output."},
                                              {"self_attn.q_norm.", "attn_q_norm."},
                                              {"self_attn.k_norm.", "attn_k_norm."},
                                              {"post_attention_layernorm.", "ffn_norm."},
                                              {"mlp.gate_proj.", "ffn_gate."},
                                              {"mlp.up_proj.", "ffn_up."},
                                              {"mlp.down_proj.", "ffn_down."}}};
constexpr std::array<Rename, 6> kOtherNames{{{"transformer.wte.", "token_embd."},
                                             {"transformer.wpe.", "position_embd."},
                                             {"transformer.ln_f.", "output_norm."},
                                             {"model.embed_tokens.", "token_embd."},
                                             {"model.norm.", "output_norm."},
                                             {"lm_head.", "output."}}};

std::string gguf_name(const std::string& name) {
    for (const auto& [from, to] : kOtherNames) {
        if (name.starts_with(from)) return std::string(to) + name.substr(from.size());
    }
    for (const std::string_view prefix : {"transformer.h.", "model.layers."}) {
        if (!name.starts_with(prefix)) continue;
        const std::size_t dot = name.find('.', prefix.size());
        const std::string layer = name.substr(prefix.size(), dot - prefix.size());
        const std::string part = name.substr(dot + 1);
        for (const auto& [from, to] : kBlockNames) {
            if (part.starts_with(from))
                return fmt::format("blk.{}.{}{}", layer, to, part.substr(from.size()));
        }
    }
    ATOLL_CHECK(!"every tensor of a layout has a name in GGUF");
    return {};
}

// Row j of a head goes to 2j, row j + d/2 to 2j + 1: pairs that rotate together become neighbours.
std::vector<float> interleave_pairs(std::span<const float> rows, std::int64_t width, std::int64_t head_dim) {
    std::vector<float> result(rows.size());
    const auto columns = static_cast<std::size_t>(width);
    const auto head = static_cast<std::size_t>(head_dim);
    for (std::size_t row = 0; row < rows.size() / columns; ++row) {
        const std::size_t within = row % head;
        const std::size_t to = within < head / 2 ? 2 * within : 2 * (within - head / 2) + 1;
        std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>(row * columns), columns,
                    result.begin() + static_cast<std::ptrdiff_t>((row - within + to) * columns));
    }
    return result;
}

// Qwen3's code (normalised q and k) rotates halves in llama.cpp too; only Llama's wants pairs.
bool is_permuted(const ModelConfig& config, const std::string& name) {
    return config.family == "llama" && !config.qk_norm &&
           (name.ends_with(".q_proj.weight") || name.ends_with(".k_proj.weight"));
}

void describe_model(const ModelConfig& config, const GgufExport& options, Metadata& metadata) {
    const std::string arch = config.family == "gpt2" ? "gpt2" : config.qk_norm ? "qwen3" : "llama";
    metadata.set("general.architecture", std::string_view(arch));
    metadata.set("general.name", std::string_view(options.name));
    metadata.set("general.alignment", static_cast<std::int64_t>(kAlignment));
    metadata.set("general.file_type", std::int64_t{options.dtype == DType::f16 ? 1 : 0});
    metadata.set(arch + ".context_length", config.context);
    metadata.set(arch + ".embedding_length", config.width);
    metadata.set(arch + ".block_count", config.layers);
    metadata.set(arch + ".feed_forward_length", config.inner);
    metadata.set(arch + ".attention.head_count", config.heads);
    metadata.set(arch + ".attention.head_count_kv", config.kv_heads);
    metadata.set(arch + ".vocab_size", config.vocabulary);
    if (config.family == "gpt2") {
        metadata.set(arch + ".attention.layer_norm_epsilon", config.norm_epsilon);
        return;
    }
    metadata.set(arch + ".attention.layer_norm_rms_epsilon", config.norm_epsilon);
    metadata.set(arch + ".attention.key_length", config.head_dim);
    metadata.set(arch + ".attention.value_length", config.head_dim);
    metadata.set(arch + ".rope.dimension_count", config.head_dim);
    metadata.set(arch + ".rope.freq_base", config.rope_theta);
}

// From the tokenizer.json itself: GGUF wants the same strings in byte-level characters. The list is as long
// as the model's vocabulary; ids that no token has are marked unused.
Status describe_tokenizer(const ModelConfig& config, const GgufExport& options, Metadata& metadata) {
    ATOLL_ASSIGN(const auto tokenizer, load_tokenizer(options.tokenizer));
    const auto root = nlohmann::json::parse(tokenizer->to_json(), nullptr, false);
    if (tokenizer->vocabulary() > config.vocabulary) {
        return Error{ErrorCode::invalid,
                     fmt::format("{}: {} tokens, but the model's vocabulary is {}",
                                 options.tokenizer.string(), tokenizer->vocabulary(), config.vocabulary)};
    }
    std::vector<std::string> tokens(static_cast<std::size_t>(config.vocabulary));
    std::vector<std::int32_t> types(tokens.size(), kUnusedToken);
    for (std::size_t id = 0; id < tokens.size(); ++id) tokens[id] = fmt::format("[PAD{}]", id);
    for (const auto& [token, id] : root["model"]["vocab"].items()) {
        tokens[id.get<std::size_t>()] = token;
        types[id.get<std::size_t>()] = kNormalToken;
    }
    if (root.contains("added_tokens") && root["added_tokens"].is_array()) {
        for (const auto& token : root["added_tokens"]) {
            tokens[token["id"].get<std::size_t>()] = token["content"].get<std::string>();
            types[token["id"].get<std::size_t>()] = kControlToken;
        }
    }
    std::vector<std::string> merges;
    for (const auto& merge : root["model"]["merges"]) {
        merges.push_back(merge.is_string() ? merge.get<std::string>()
                                           : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
    }
    metadata.set("tokenizer.ggml.model", std::string_view("gpt2"));
    const bool groups_digits = tokenizer->to_json().find("\\\\p{N}{1,3}") != std::string::npos;
    metadata.set("tokenizer.ggml.pre", std::string_view(groups_digits ? "llama-bpe" : "gpt-2"));
    metadata.set("tokenizer.ggml.tokens", tokens);
    metadata.set("tokenizer.ggml.token_type", types);
    metadata.set("tokenizer.ggml.merges", merges);
    if (const auto end = tokenizer->end_of_text()) {
        metadata.set("tokenizer.ggml.bos_token_id", std::int64_t{*end});
        metadata.set("tokenizer.ggml.eos_token_id", std::int64_t{*end});
    }
    metadata.set("tokenizer.ggml.add_bos_token", false);
    return {};
}

std::uint64_t aligned(std::uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

Status write_gguf(const std::filesystem::path& path, const ModelConfig& config, const kernels::Layout& layout,
                  std::span<const float> parameters, const GgufExport& options) {
    ATOLL_CHECK(parameters.size() == layout.size() &&
                (options.dtype == DType::f32 || options.dtype == DType::f16));
    Metadata metadata;
    describe_model(config, options, metadata);
    if (!options.tokenizer.empty()) ATOLL_TRY(describe_tokenizer(config, options, metadata));
    Head head;
    head.bytes() = "GGUF";
    head.raw(kVersion);
    head.raw<std::uint64_t>(layout.slots().size());
    head.raw(metadata.count());
    head.bytes() += metadata.bytes();
    std::vector<TensorToWrite> tensors;
    std::uint64_t offset = 0;
    for (const auto& slot : layout.slots()) {
        // Vectors stay f32: the products that use them expect it.
        const DType dtype = slot.shape.size() == 1 ? DType::f32 : options.dtype;
        tensors.push_back({slot.name, slot.shape, parameters.subspan(slot.offset, slot.size), dtype, false});
        head.text(gguf_name(slot.name));
        head.raw(static_cast<std::uint32_t>(slot.shape.size()));
        for (auto size = slot.shape.rbegin(); size != slot.shape.rend(); ++size)
            head.raw(static_cast<std::uint64_t>(*size));
        head.raw(std::uint32_t{dtype == DType::f16 ? 1U : 0U});
        head.raw(offset);
        offset += aligned(tensors.back().bytes());
    }
    head.bytes().resize(aligned(head.bytes().size()), '\0');
    ATOLL_ASSIGN(FileWriter file, FileWriter::create(path));
    ATOLL_TRY(file.append(as_byte_view(head.bytes())));
    for (TensorToWrite& tensor : tensors) {
        std::vector<float> permuted;
        if (is_permuted(config, tensor.name)) {
            permuted = interleave_pairs(tensor.values, config.width, config.head_dim);
            tensor.values = permuted;
        }
        ATOLL_TRY(write_blocks(tensor, [&](ByteView bytes) { return file.append(bytes); }));
        ATOLL_TRY(file.append(Bytes(aligned(tensor.bytes()) - tensor.bytes())));
    }
    return file.commit();
}

}  // namespace Atoll::model
