#include "model/data/loader.h"

#include <fmt/core.h>
#include <glob.h>

#include <algorithm>
#include <span>

#include "base/check.h"
#include "base/rng.h"
#include "model/data/shuffle.h"

namespace Atoll::model {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kHeldOutSeed = 0x68656c646f7574;  // fixed: every run is measured on the same windows

std::uint64_t window_count(std::uint64_t tokens, std::int64_t sequence) {
    // A window needs one token more than its length: the target of its last input.
    return tokens == 0 ? 0 : (tokens - 1) / static_cast<std::uint64_t>(sequence);
}

bool is_validation_shard(const fs::path& path) {
    return path.filename().string().find("_val_") != std::string::npos;
}

std::vector<fs::path> expand_glob(const std::string& pattern) {
    std::vector<fs::path> paths;
    glob_t matches{};
    if (::glob(pattern.c_str(), 0, nullptr, &matches) == 0) {
        paths.assign(matches.gl_pathv, matches.gl_pathv + matches.gl_pathc);
    }
    ::globfree(&matches);
    return paths;
}

void shape(TokenBatch& batch) {
    ATOLL_CHECK(batch.batch > 0 && batch.sequence > 0);
    const auto tokens = static_cast<std::size_t>(batch.batch * batch.sequence);
    batch.inputs.resize(tokens);
    batch.targets.resize(tokens);
}

}  // namespace

Result<std::vector<fs::path>> find_shards(const std::string& source) {
    std::vector<fs::path> paths;
    std::error_code code;
    if (fs::is_directory(source, code)) {
        for (auto it = fs::directory_iterator(source, code); !code && it != fs::directory_iterator();
             it.increment(code)) {
            if (it->path().extension() == ".bin") paths.push_back(it->path());
        }
        if (code)
            return Error{ErrorCode::failed, fmt::format("reading folder {}: {}", source, code.message())};
        if (paths.empty()) {
            return Error{ErrorCode::not_found,
                         fmt::format("no token shard (*.bin) in folder {}; make some with `atoll "
                                     "data prepare --input FILE --out {}`",
                                     source, source)};
        }
    } else if (fs::exists(source, code)) {
        paths.emplace_back(source);
    } else {
        paths = expand_glob(source);
        if (paths.empty()) {
            return Error{
                ErrorCode::not_found,
                fmt::format(
                    "no token shard at {}: neither a file, a folder nor a pattern that matches one; make "
                    "shards with `atoll data prepare`",
                    source)};
        }
    }
    std::sort(paths.begin(), paths.end());
    return paths;
}

void TokenStream::add(TokenFile file) {
    ends_.push_back(size() + file.size());
    files_.push_back(std::move(file));
}

Status TokenStream::read(std::uint64_t begin, std::span<std::uint32_t> out, std::int64_t vocabulary) const {
    ATOLL_CHECK(begin <= size() && out.size() <= size() - begin);
    auto index =
        static_cast<std::size_t>(std::upper_bound(ends_.begin(), ends_.end(), begin) - ends_.begin());
    while (!out.empty()) {
        const TokenFile& file = files_[index];
        const std::uint64_t local = begin - (ends_[index] - file.size());
        const std::size_t count = std::min<std::size_t>(out.size(), file.size() - local);
        file.read(local, out.first(count));
        for (std::size_t i = 0; i < count; ++i) {
            if (out[i] < static_cast<std::uint64_t>(vocabulary)) continue;
            return Error{ErrorCode::corrupt,
                         fmt::format("token shard {}: token {} at position {} is not below the model's "
                                     "vocabulary of {}; was it made with another tokenizer?",
                                     file.path().string(), out[i], local + i, vocabulary)};
        }
        out = out.subspan(count);
        begin += count;
        ++index;
    }
    return {};
}

Result<std::unique_ptr<Loader>> Loader::open(const LoaderOptions& options) {
    ATOLL_CHECK(options.member_count > 0 && options.member_index < options.member_count &&
                options.vocabulary > 0);
    if (!(options.held_out >= 0.0 && options.held_out < 1.0)) {
        return Error{
            ErrorCode::invalid,
            fmt::format("data.held_out = {}: expected a fraction from 0 to below 1", options.held_out)};
    }
    ATOLL_ASSIGN(const auto paths, find_shards(options.source));
    auto loader = std::unique_ptr<Loader>(new Loader(options));
    TokenWidth width = TokenWidth::bits16;
    for (const fs::path& path : paths) {
        ATOLL_ASSIGN(TokenFile file, TokenFile::open(path));
        if (path != paths.front() && file.width() != width) {
            return Error{ErrorCode::corrupt,
                         fmt::format("{} and {} hold tokens of different widths; they cannot come from one "
                                     "tokenizer, so keep one of them",
                                     paths.front().string(), path.string())};
        }
        width = file.width();
        (is_validation_shard(path) ? loader->validation_ : loader->train_).add(std::move(file));
    }
    if (loader->validation_.size() > 0) {
        loader->train_end_ = loader->train_.size();
        loader->held_out_end_ = loader->validation_.size();
    } else {
        const auto tokens = loader->train_.size();
        const auto held_out = static_cast<std::uint64_t>(static_cast<double>(tokens) * options.held_out);
        loader->train_end_ = loader->held_out_begin_ = tokens - held_out;
        loader->held_out_end_ = tokens;
    }
    return loader;
}

std::uint64_t Loader::train_window(std::uint64_t windows, std::uint64_t part, std::uint64_t draw) const {
    const Rng run = Rng(options_.seed).split("loader");
    // One permutation for the whole run says whose a window is, so that a member's part stays its own in
    // every epoch; another, new in each epoch, orders the part.
    const Permutation split(windows, run.split("split").bits64());
    const Permutation order(part, run.split("stream", options_.stream).split("epoch", draw / part).bits64());
    return split(order(draw % part) * options_.member_count + options_.member_index);
}

Status Loader::fill(const TokenStream& stream, std::uint64_t begin, std::int64_t row, TokenBatch& batch) {
    const auto sequence = static_cast<std::size_t>(batch.sequence);
    window_.resize(sequence + 1);
    ATOLL_TRY(stream.read(begin, window_, options_.vocabulary));
    const auto offset = row * batch.sequence;
    std::copy_n(window_.begin(), sequence, batch.inputs.begin() + offset);
    std::copy_n(window_.begin() + 1, sequence, batch.targets.begin() + offset);
    return {};
}

Status Loader::next(TokenBatch& batch) {
    shape(batch);
    const std::uint64_t windows = window_count(train_end_, batch.sequence);
    const std::uint64_t part = windows > options_.member_index
                                   ? (windows - options_.member_index - 1) / options_.member_count + 1
                                   : 0;
    if (part == 0) {
        return Error{
            ErrorCode::invalid,
            fmt::format(
                "{} has {} tokens to train on, too few for member {} of {} with sequences of {} tokens; "
                "give more text or a shorter model.context",
                options_.source, train_end_, options_.member_index, options_.member_count, batch.sequence)};
    }
    for (std::int64_t row = 0; row < batch.batch; ++row) {
        const std::uint64_t window = train_window(windows, part, position_ + static_cast<std::uint64_t>(row));
        ATOLL_TRY(fill(train_, window * static_cast<std::uint64_t>(batch.sequence), row, batch));
    }
    position_ += static_cast<std::uint64_t>(batch.batch);
    return {};
}

std::uint64_t Loader::held_out_count(std::int64_t batch, std::int64_t sequence) const {
    ATOLL_CHECK(batch > 0 && sequence > 0);
    return window_count(held_out_tokens(), sequence) / static_cast<std::uint64_t>(batch);
}

Status Loader::held_out(std::uint64_t index, TokenBatch& batch) {
    ATOLL_CHECK(index < held_out_count(batch.batch, batch.sequence));
    shape(batch);
    const Permutation order(window_count(held_out_tokens(), batch.sequence), kHeldOutSeed);
    const TokenStream& stream = validation_.size() > 0 ? validation_ : train_;
    for (std::int64_t row = 0; row < batch.batch; ++row) {
        const std::uint64_t window =
            order(index * static_cast<std::uint64_t>(batch.batch) + static_cast<std::uint64_t>(row));
        ATOLL_TRY(
            fill(stream, held_out_begin_ + window * static_cast<std::uint64_t>(batch.sequence), row, batch));
    }
    return {};
}

}  // namespace Atoll::model
