#include "model/data/prepare.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/files.h"
#include "model/data/token_file.h"
#include "model/tokenizer/bpe_train.h"
#include "model/tokenizer/pretokenize.h"

namespace Atoll::model {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kPieceBytes = std::uint64_t{1} << 20U;         // encoded at once
constexpr std::uint64_t kTrainerBytesMax = std::uint64_t{256} << 20U;  // BPE merges settle long before that
constexpr std::uint64_t kHeldOutSpanBytes = 4096, kHeldOutSpansMax = 64;  // longer spans hold whole sequences

struct Input {
    fs::path path;
    MappedFile file;

    [[nodiscard]] std::string_view text() const {
        return {reinterpret_cast<const char*>(file.view().data()), file.view().size()};
    }
};

Status open_input(const fs::path& path, bool skip_binary, std::vector<Input>& inputs) {
    ATOLL_ASSIGN(MappedFile file, MappedFile::open(path));
    Input input{path, std::move(file)};
    const std::string_view head = input.text().substr(0, 8192);
    if (head.empty() || (skip_binary && head.find('\0') != std::string_view::npos)) return {};
    inputs.push_back(std::move(input));
    return {};
}

Result<std::vector<Input>> open_inputs(const std::vector<fs::path>& paths) {
    std::vector<Input> inputs;
    for (const fs::path& path : paths) {
        std::error_code code;
        if (!fs::is_directory(path, code)) {
            ATOLL_TRY(open_input(path, false, inputs));
            continue;
        }
        std::vector<fs::path> files;
        for (auto it = fs::recursive_directory_iterator(path, code);
             !code && it != fs::recursive_directory_iterator(); it.increment(code)) {
            if (it->is_regular_file() && it->path().filename().string().front() != '.')
                files.push_back(it->path());
        }
        if (code)
            return Error{ErrorCode::failed,
                         fmt::format("reading folder {}: {}", path.string(), code.message())};
        std::sort(files.begin(), files.end());
        for (const fs::path& file : files) ATOLL_TRY(open_input(file, true, inputs));
    }
    if (inputs.empty())
        return Error{ErrorCode::not_found,
                     "no text in the input: every file is empty (or binary, in a folder)"};
    return inputs;
}

std::uint64_t total_bytes(const std::vector<Input>& inputs) {
    std::uint64_t total = 0;
    for (const Input& input : inputs) total += input.text().size();
    return total;
}

// Where the held-out text lies: a span at the end of every period of the input, counted over all files.
struct HeldOutPlan {
    std::uint64_t period = 0;  // bytes; 0: nothing is held out
    std::uint64_t train = 0;   // bytes of a period before its held-out span

    HeldOutPlan(std::uint64_t total, double fraction) {
        const auto held_out = static_cast<std::uint64_t>(static_cast<double>(total) * fraction);
        if (held_out == 0) return;
        const std::uint64_t spans =
            std::clamp<std::uint64_t>(held_out / kHeldOutSpanBytes, 1, kHeldOutSpansMax);
        period = total / spans;
        train = period - std::max<std::uint64_t>(held_out / spans, 1);
    }
    [[nodiscard]] bool held_out(std::uint64_t position) const {
        return period != 0 && position % period >= train;
    }
    // The first position behind `position` where a piece should end.
    [[nodiscard]] std::uint64_t piece_end(std::uint64_t position) const {
        if (period == 0) return position + kPieceBytes;
        const std::uint64_t local = position % period;
        return position + std::min(kPieceBytes, (local < train ? train : period) - local);
    }
};

// Calls visit(text, position, is_document_start) for the pieces of all inputs, cut where no word is cut.
template <typename Visit>
Status for_each_piece(const std::vector<Input>& inputs, const HeldOutPlan& plan, const Visit& visit) {
    std::uint64_t base = 0;
    for (const Input& input : inputs) {
        const std::string_view text = input.text();
        for (std::size_t begin = 0; begin < text.size();) {
            const std::size_t end =
                safe_cut(text, static_cast<std::size_t>(plan.piece_end(base + begin) - base));
            const Status status = visit(text.substr(begin, end - begin), base + begin, begin == 0);
            if (!status) return status.error().within(input.path.string());
            begin = end;
        }
        base += text.size();
    }
    return {};
}

Result<std::unique_ptr<Tokenizer>> train_tokenizer(std::int64_t vocabulary,
                                                   const std::vector<Input>& inputs) {
    ATOLL_ASSIGN(BpeTrainer trainer, BpeTrainer::create());
    // Of a larger input every k-th piece: the whole of it, evenly thinned.
    const std::uint64_t stride = total_bytes(inputs) / kTrainerBytesMax + 1;
    std::uint64_t piece = 0;
    ATOLL_TRY(for_each_piece(inputs, HeldOutPlan(0, 0), [&](std::string_view text, std::uint64_t, bool) {
        return piece++ % stride == 0 ? trainer.add(text) : Status();
    }));
    return trainer.train(vocabulary);
}

Result<std::unique_ptr<Tokenizer>> choose_tokenizer(const std::string& name,
                                                    const std::vector<Input>& inputs) {
    if (name == "byte") return make_byte_tokenizer();
    if (!name.starts_with("bpe:")) {
        auto tokenizer = load_tokenizer(name);
        if (tokenizer || tokenizer.error().code != ErrorCode::not_found) return tokenizer;
        return Error{ErrorCode::invalid,
                     fmt::format("tokenizer {}: expected byte, bpe:N or a tokenizer.json that exists", name)};
    }
    std::int64_t vocabulary = 0;
    const char* end = name.data() + name.size();
    const auto [stop, code] = std::from_chars(name.data() + 4, end, vocabulary);
    if (code != std::errc() || stop != end) {
        return Error{
            ErrorCode::invalid,
            fmt::format("tokenizer {}: expected bpe:N with the size of the vocabulary, as bpe:8192", name)};
    }
    return train_tokenizer(vocabulary, inputs);
}

// The shards of one part of the data, begun one after the other as they fill up.
class ShardSeries {
  public:
    ShardSeries(fs::path folder, std::string prefix, int first_number, TokenWidth width,
                std::uint64_t shard_tokens)
        : folder_(std::move(folder)),
          prefix_(std::move(prefix)),
          number_(first_number),
          width_(width),
          shard_tokens_(shard_tokens) {}

    Status append(std::span<const std::int32_t> tokens) {
        while (!tokens.empty()) {
            if (!writer_) {
                names_.push_back(fmt::format("{}_{:06}.bin", prefix_, number_++));
                ATOLL_ASSIGN(TokenFileWriter writer,
                             TokenFileWriter::create(folder_ / names_.back(), width_));
                writer_.emplace(std::move(writer));
            }
            const std::size_t count = std::min<std::size_t>(tokens.size(), shard_tokens_ - writer_->size());
            ATOLL_TRY(writer_->append(tokens.first(count)));
            tokens = tokens.subspan(count);
            tokens_ += count;
            if (writer_->size() == shard_tokens_) ATOLL_TRY(finish());
        }
        return {};
    }
    Status finish() {
        if (!writer_) return {};
        ATOLL_TRY(writer_->commit());
        writer_.reset();
        return {};
    }
    [[nodiscard]] std::uint64_t tokens() const { return tokens_; }
    [[nodiscard]] const std::vector<std::string>& names() const { return names_; }

  private:
    fs::path folder_;
    std::string prefix_;
    int number_;
    TokenWidth width_;
    std::uint64_t shard_tokens_;
    std::uint64_t tokens_ = 0;
    std::vector<std::string> names_;
    std::optional<TokenFileWriter> writer_;
};

// A folder beside the final files, removed unless its files were moved out.
class Staging {
  public:
    explicit Staging(const fs::path& out)
        : out_(out), folder_(out / fmt::format(".tmp-prepare-{}", ::getpid())) {}
    Staging(const Staging&) = delete;
    Staging& operator=(const Staging&) = delete;
    ~Staging() {
        std::error_code ignored;
        fs::remove_all(folder_, ignored);
    }
    [[nodiscard]] const fs::path& folder() const { return folder_; }

    Status publish(const std::vector<std::string>& names) const {
        for (const std::string& name : names) {
            std::error_code code;
            fs::rename(folder_ / name, out_ / name, code);
            if (code)
                return Error{ErrorCode::failed,
                             fmt::format("renaming to {}: {}", (out_ / name).string(), code.message())};
        }
        return sync_path(out_);
    }

  private:
    fs::path out_;
    fs::path folder_;
};

Status check_options(const PrepareOptions& options) {
    if (!(options.held_out >= 0.0 && options.held_out < 1.0)) {
        return Error{
            ErrorCode::invalid,
            fmt::format("data.held_out = {}: expected a fraction from 0 to below 1", options.held_out)};
    }
    if (options.shard_tokens == 0 || options.shard_tokens > TokenFileWriter::kTokensMax) {
        return Error{ErrorCode::invalid, fmt::format("{} tokens a shard: expected 1 to {}",
                                                     options.shard_tokens, TokenFileWriter::kTokensMax)};
    }
    if (options.name.empty() || options.name.find('/') != std::string::npos ||
        options.name.find("_val_") != std::string::npos) {
        return Error{ErrorCode::invalid,
                     fmt::format("shard name \"{}\": expected a file name without \"_val_\"", options.name)};
    }
    std::error_code code;
    for (fs::directory_iterator it(options.out, code), end; !code && it != end; it.increment(code)) {
        if (it->path().extension() != ".bin") continue;
        return Error{ErrorCode::refused,
                     fmt::format("{} holds shards already ({}); remove them, or choose another --out",
                                 options.out.string(), it->path().filename().string())};
    }
    return {};
}

std::string describe(const PrepareOptions& options, const PrepareReport& report) {
    const nlohmann::ordered_json description{{"format", 1},
                                             {"tokenizer", options.tokenizer},
                                             {"vocab_size", report.vocabulary},
                                             {"tokens", report.tokens},
                                             {"train_tokens", report.train_tokens},
                                             {"val_tokens", report.val_tokens},
                                             {"shards", report.shards}};
    return description.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

Status write_shards(const PrepareOptions& options, const std::vector<Input>& inputs,
                    const Tokenizer& tokenizer, const fs::path& folder, PrepareReport& report) {
    const TokenWidth width = token_width(tokenizer.vocabulary());
    ShardSeries train(folder, options.name + "_train", 1, width, options.shard_tokens);
    ShardSeries val(folder, options.name + "_val", 0, width, options.shard_tokens);
    const std::uint64_t total = total_bytes(inputs);
    const HeldOutPlan plan(total, options.held_out);
    bool was_held_out = false;
    std::vector<std::int32_t> ids;
    const Status encoded = for_each_piece(
        inputs, plan, [&](std::string_view text, std::uint64_t position, bool is_document_start) -> Status {
            if (options.progress && !options.progress(position, total)) {
                return Error{ErrorCode::interrupted, "stopped; no shard was written"};
            }
            const bool held_out = plan.held_out(position);
            ids.clear();
            if ((is_document_start || held_out != was_held_out) && tokenizer.end_of_text())
                ids.push_back(*tokenizer.end_of_text());
            was_held_out = held_out;
            ATOLL_TRY(tokenizer.encode(text, ids));
            return (held_out ? val : train).append(ids);
        });
    ATOLL_TRY(encoded);
    ATOLL_TRY(train.finish());
    ATOLL_TRY(val.finish());
    if (options.progress) options.progress(total, total);
    report.train_tokens = train.tokens();
    report.val_tokens = val.tokens();
    report.tokens = report.train_tokens + report.val_tokens;
    report.vocabulary = tokenizer.vocabulary();
    report.shards = train.names();
    report.shards.insert(report.shards.end(), val.names().begin(), val.names().end());
    return {};
}

}  // namespace

Result<PrepareReport> prepare_data(const PrepareOptions& options) {
    ATOLL_TRY(check_options(options));
    ATOLL_ASSIGN(const std::vector<Input> inputs, open_inputs(options.inputs));
    ATOLL_ASSIGN(const auto tokenizer, choose_tokenizer(options.tokenizer, inputs));
    const Staging staging(options.out);
    PrepareReport report;
    ATOLL_TRY(write_shards(options, inputs, *tokenizer, staging.folder(), report));
    ATOLL_TRY(save_tokenizer(*tokenizer, staging.folder()));
    ATOLL_TRY(write_file(staging.folder() / "data.json", describe(options, report)));
    std::vector<std::string> names = report.shards;
    names.insert(names.end(), {"tokenizer.json", "data.json"});
    ATOLL_TRY(staging.publish(names));
    return report;
}

Status save_tokenizer(const Tokenizer& tokenizer, const fs::path& folder) {
    return write_file(folder / "tokenizer.json", tokenizer.to_json());
}

}  // namespace Atoll::model
