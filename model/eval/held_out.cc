#include "model/eval/held_out.h"

#include <cmath>
#include <numbers>
#include <string>

namespace Atoll::model {

double HeldOutScore::perplexity() const { return std::exp(loss); }

double HeldOutScore::bits_per_byte() const {
    return loss * static_cast<double>(tokens) / (std::numbers::ln2 * static_cast<double>(bytes));
}

Result<HeldOutScore> score_held_out(Transformer& transformer, std::span<const float> parameters,
                                    BatchSource& data, TokenBatch& shape, std::uint64_t count,
                                    const Tokenizer* tokenizer,
                                    const std::function<bool(const HeldOutScore&)>& go_on) {
    HeldOutScore score;
    std::string text;
    while (score.batches < count) {
        ATOLL_TRY(data.held_out(score.batches, shape));
        const double loss = transformer.forward(parameters, shape);
        ++score.batches;
        score.tokens += shape.targets.size();
        score.loss += (loss - score.loss) / static_cast<double>(score.batches);
        if (tokenizer != nullptr) {
            text.clear();
            tokenizer->decode(shape.targets, text);
            score.bytes += text.size();
        }
        if (!go_on(score)) return Error{ErrorCode::interrupted, "interrupted: nothing was written"};
    }
    return score;
}

}  // namespace Atoll::model
