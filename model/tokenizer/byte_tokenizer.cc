#include "model/tokenizer/bpe.h"
#include "model/tokenizer/tokenizer.h"

namespace Atoll::model {

namespace {

class ByteTokenizer final : public Tokenizer {
  public:
    [[nodiscard]] Status encode(std::string_view text, std::vector<std::int32_t>& ids) const override {
        ids.reserve(ids.size() + text.size());
        for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
        return {};
    }
    void decode(std::span<const std::int32_t> ids, std::string& text) const override {
        for (const std::int32_t id : ids) {
            if (id >= 0 && id < 256) text += static_cast<char>(id);
        }
    }
    [[nodiscard]] std::int64_t vocabulary() const override { return 256; }
    [[nodiscard]] std::optional<std::int32_t> end_of_text() const override { return std::nullopt; }
    // Byte-level BPE that never merges is the same mapping, in words that other programs understand.
    [[nodiscard]] std::string to_json() const override { return bpe_to_json(byte_level_model()); }
};

}  // namespace

std::unique_ptr<Tokenizer> make_byte_tokenizer() { return std::make_unique<ByteTokenizer>(); }

}  // namespace Atoll::model
