// Batches from token shards: windows of T tokens in a seeded order, resumable by one number, never the
// held-out ones.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/data/batch.h"
#include "model/data/token_file.h"

namespace Atoll::model {

struct LoaderOptions {
    std::string source;             // a folder of shards (*.bin), one shard, or a glob
    std::uint64_t seed = 1;         // decides the order and the split: the same for all members of a run
    std::int64_t vocabulary = 256;  // a token that is not below it is an error, never an index
    double held_out = 0.01;         // the last fraction of the tokens, where no `*_val_*` shard is present
    // The member's part: windows with index = member_index modulo member_count of the shuffled order. Parts
    // of members 0..n-1 are disjoint and together all windows. A resumed position is valid under any split.
    std::uint64_t member_index = 0;
    std::uint64_t member_count = 1;
    // Members that share a part (assignment "same") read it in different orders if their streams differ, for
    // example a hash of their names.
    std::uint64_t stream = 0;
};

// The shards behind one source as one stream of tokens. Documents run across shards.
class TokenStream {
  public:
    void add(TokenFile file);
    [[nodiscard]] std::uint64_t size() const { return ends_.empty() ? 0 : ends_.back(); }
    // Tokens begin .. begin + out.size(). Precondition: they lie within the stream. Errors (corrupt): a token
    // is not below `vocabulary`; names shard and position.
    [[nodiscard]] Status read(std::uint64_t begin, std::span<std::uint32_t> out,
                              std::int64_t vocabulary) const;

  private:
    std::vector<TokenFile> files_;
    std::vector<std::uint64_t> ends_;  // position behind the last token of each file
};

// Window w holds tokens wT .. wT+T as inputs and their successors as targets. position() counts the windows
// this member has drawn; it means the same batches only while the sequence length and the shards stay what
// they were.
class Loader final : public BatchSource {
  public:
    // Checks every shard's header. Errors: no shard found (says where it looked), a damaged shard, shards of
    // both widths, a held-out fraction outside [0, 1).
    [[nodiscard]] static Result<std::unique_ptr<Loader>> open(const LoaderOptions& options);

    // Errors besides unreadable data (invalid): the member's part has no window of batch.sequence tokens.
    [[nodiscard]] Status next(TokenBatch& batch) override;
    [[nodiscard]] std::uint64_t position() const override { return position_; }
    void seek(std::uint64_t position) override { position_ = position; }
    // Held-out windows come in one fixed order that mixes the whole held-out part, the same for every member
    // and seed, so that the first few batches are a fair sample and two runs are measured on the same text.
    [[nodiscard]] Status held_out(std::uint64_t index, TokenBatch& batch) override;
    [[nodiscard]] std::uint64_t held_out_count(std::int64_t batch, std::int64_t sequence) const override;

    [[nodiscard]] std::uint64_t train_tokens() const { return train_end_; }
    [[nodiscard]] std::uint64_t held_out_tokens() const { return held_out_end_ - held_out_begin_; }

  private:
    explicit Loader(LoaderOptions options) : options_(std::move(options)) {}
    [[nodiscard]] std::uint64_t train_window(std::uint64_t windows, std::uint64_t part,
                                             std::uint64_t draw) const;
    [[nodiscard]] Status fill(const TokenStream& stream, std::uint64_t begin, std::int64_t row,
                              TokenBatch& batch);

    LoaderOptions options_;
    TokenStream train_;
    TokenStream validation_;            // empty: the held-out tokens are the end of train_
    std::uint64_t train_end_ = 0;       // tokens of train_ that may be trained on
    std::uint64_t held_out_begin_ = 0;  // in validation_, or in train_
    std::uint64_t held_out_end_ = 0;
    std::uint64_t position_ = 0;
    std::vector<std::uint32_t> window_;  // scratch of fill()
};

// Shards a source names, sorted by name. Errors (not_found): none; the message says what was looked for.
[[nodiscard]] Result<std::vector<std::filesystem::path>> find_shards(const std::string& source);

}  // namespace Atoll::model
