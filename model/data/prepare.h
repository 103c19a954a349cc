// Text files to a folder of token shards with their tokenizer: what `atoll data prepare` does.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/tokenizer/tokenizer.h"

namespace Atoll::model {

struct PrepareOptions {
    std::vector<std::filesystem::path> inputs;  // files; folders: every text file in them, at any depth
    std::filesystem::path out;                  // created; must not hold shards already
    std::string tokenizer =
        "byte";                 // byte, bpe:N (trained on the text), a tokenizer.json or a folder with one
    std::string name = "text";  // of the shards: NAME_train_000001.bin, NAME_val_000000.bin
    double held_out = 0.01;     // fraction of the text, taken evenly from all over it
    std::uint64_t shard_tokens = 100'000'000;
    // Called now and then with the bytes read so far; to stop, return false (error: interrupted, nothing is
    // left behind).
    std::function<bool(std::uint64_t bytes, std::uint64_t bytes_total)> progress;
};

struct PrepareReport {
    std::uint64_t tokens = 0;
    std::uint64_t train_tokens = 0;
    std::uint64_t val_tokens = 0;
    std::int64_t vocabulary = 0;
    std::vector<std::string> shards;  // file names in `out`, sorted
};

// Also writes tokenizer.json and data.json. Every file is a document: where the tokenizer has an end of text,
// one stands before each document, and before text that does not follow on what precedes it. The folder gets
// all files or none. Errors: an input is missing or there is no text; `out` holds shards; the tokenizer is
// unknown or does not know a byte; disk full.
[[nodiscard]] Result<PrepareReport> prepare_data(const PrepareOptions& options);

// The tokenizer that belongs to prepared data or a model folder: its tokenizer.json.
[[nodiscard]] Status save_tokenizer(const Tokenizer& tokenizer, const std::filesystem::path& folder);

}  // namespace Atoll::model
