#include "model/tokenizer/tokenizer.h"

namespace Atoll::model {

Result<std::vector<std::int32_t>> Tokenizer::encode(std::string_view text) const {
    std::vector<std::int32_t> ids;
    ATOLL_TRY(encode(text, ids));
    return ids;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
    std::string text;
    decode(ids, text);
    return text;
}

}  // namespace Atoll::model
