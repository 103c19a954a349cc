// Tokens a second and peak memory of a whole training step (forward, backward, AdamW or --optimizer), one
// JSON line a run. The same model, tokens and optimizer as tests/benchmarks/pytorch_step.py;
// tests/benchmarks/compare_training.sh runs both.
//
//   training_bench tiny|small|124m [--steps N] [--threads N] [--bf16] [--recompute] [--save FILE]
//                  [--optimizer NAME]
//
// --save writes the initial weights for pytorch_step.py --weights, so that both report the same losses.
#include <fmt/core.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "model/trainer.h"

namespace {

using Atoll::model::ModelConfig;

struct Size {
    ModelConfig config;
    std::int64_t batch;
    std::int64_t steps;  // measured
};

ModelConfig gpt2(std::int64_t layers, std::int64_t width, std::int64_t heads, std::int64_t context,
                 std::int64_t vocabulary) {
    return {.family = "gpt2",
            .vocabulary = vocabulary,
            .context = context,
            .layers = layers,
            .heads = heads,
            .kv_heads = heads,
            .width = width,
            .inner = 4 * width,
            .head_dim = width / heads};
}

const std::map<std::string, Size> kSizes = {
    {"tiny", {gpt2(4, 128, 4, 128, 256), 8, 40}},
    {"small", {gpt2(6, 384, 6, 256, 4096), 8, 8}},
    {"124m", {gpt2(12, 768, 12, 256, 50257), 4, 3}},
};

// One batch of tokens from a linear congruential generator, the same every step: pytorch_step.py makes the
// same.
class FixedBatch final : public Atoll::model::BatchSource {
  public:
    explicit FixedBatch(std::int64_t vocabulary) : vocabulary_(vocabulary) {}
    Atoll::Status next(Atoll::model::TokenBatch& batch) override {
        const auto rows = static_cast<std::size_t>(batch.batch * batch.sequence);
        if (batch.inputs.size() == rows) return {};
        std::uint32_t state = 1;
        std::vector<std::int32_t> tokens(rows + 1);
        for (std::int32_t& token : tokens) {
            state = (1103515245U * state + 12345U) & 0x7fffffffU;
            token = static_cast<std::int32_t>((state >> 8U) % static_cast<std::uint32_t>(vocabulary_));
        }
        batch.inputs.assign(tokens.begin(), tokens.end() - 1);
        batch.targets.assign(tokens.begin() + 1, tokens.end());
        return {};
    }
    std::uint64_t position() const override { return 0; }
    void seek(std::uint64_t) override {}
    Atoll::Status held_out(std::uint64_t, Atoll::model::TokenBatch& batch) override { return next(batch); }
    std::uint64_t held_out_count(std::int64_t, std::int64_t) const override { return 0; }

  private:
    std::int64_t vocabulary_;
};

// A line "name offset size" for each tensor, an empty line, then the flat vector.
bool save(const std::string& path, Atoll::model::Trainer& trainer) {
    std::ofstream out(path, std::ios::binary);
    for (const auto& slot : trainer.layout().slots())
        out << slot.name << ' ' << slot.offset << ' ' << slot.size << '\n';
    out << '\n';
    const auto bytes = std::as_bytes(trainer.parameters());
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return static_cast<bool>(out.flush());
}

int run(const std::string& name, const Size& size, std::int64_t steps, int threads, bool bf16, bool recompute,
        const std::string& save_path, const std::string& optimizer) {
    const auto ops = Atoll::kernels::make_cpu_ops(threads);
    FixedBatch data(size.config.vocabulary);
    Atoll::model::TrainerOptions options;
    options.model = size.config;
    options.optimizer = optimizer;
    options.learning_rate = optimizer == "adamw" ? 1e-4 : 1e-6;
    options.clip_norm = 0;
    options.batch_sequences = size.batch;
    options.precision = bf16 ? Atoll::kernels::Precision::bf16 : Atoll::kernels::Precision::fp32;
    options.keep = recompute ? Atoll::model::Keep::expensive : Atoll::model::Keep::everything;
    auto trainer = Atoll::model::Trainer::make(*ops, data, options);
    if (!trainer.ok()) {
        fmt::print(stderr, "{}\n", trainer.error().message);
        return 1;
    }
    if (!save_path.empty() && !save(save_path, **trainer)) {
        fmt::print(stderr, "cannot write {}\n", save_path);
        return 1;
    }
    constexpr std::int64_t kWarmUpSteps = 2;
    std::vector<double> seconds;
    double first_loss = 0;
    double last_loss = 0;
    std::uint64_t tokens = 0;
    for (std::int64_t step = 0; step < kWarmUpSteps + steps; ++step) {
        const auto start = std::chrono::steady_clock::now();
        const auto result = (*trainer)->inner_step();
        const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
        if (!result.ok()) {
            fmt::print(stderr, "{}\n", result.error().message);
            return 1;
        }
        if (step == 0) first_loss = result->loss;
        last_loss = result->loss;
        tokens = result->tokens;
        if (step >= kWarmUpSteps) seconds.push_back(elapsed.count());
    }
    std::nth_element(seconds.begin(), seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2),
                     seconds.end());
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    fmt::print(
        R"({{"trainer": "atoll", "size": "{}", "precision": "{}", "optimizer": "{}", "threads": {}, "tokens_per_second": {:.1f}, )"
        R"("peak_rss_bytes": {}, "first_loss": {:.6f}, "last_loss": {:.6f}, "steps": {}}})"
        "\n",
        name, bf16 ? "bf16" : "fp32", optimizer, threads,
        static_cast<double>(tokens) / seconds[seconds.size() / 2], usage.ru_maxrss * 1024, first_loss,
        last_loss, kWarmUpSteps + steps);
    return 0;
}

int usage_error() {
    fmt::print(stderr,
               "usage: training_bench tiny|small|124m [--steps N] [--threads N] [--bf16] [--recompute] "
               "[--save FILE] [--optimizer NAME]\n");
    return 2;
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> words(argv + 1, argv + argc);
    if (words.empty() || !kSizes.contains(words[0])) return usage_error();
    const Size& size = kSizes.at(words[0]);
    std::int64_t steps = size.steps;
    int threads = 2;
    bool bf16 = false;
    bool recompute = false;
    std::string save_path;
    std::string optimizer = "adamw";
    for (std::size_t i = 1; i < words.size(); ++i) {
        const bool has_value = i + 1 < words.size();
        if (words[i] == "--bf16") {
            bf16 = true;
        } else if (words[i] == "--recompute") {
            recompute = true;
        } else if (words[i] == "--steps" && has_value) {
            steps = std::max(1L, std::strtol(words[++i].c_str(), nullptr, 10));
        } else if (words[i] == "--threads" && has_value) {
            threads = static_cast<int>(std::strtol(words[++i].c_str(), nullptr, 10));
        } else if (words[i] == "--save" && has_value) {
            save_path = words[++i];
        } else if (words[i] == "--optimizer" && has_value) {
            optimizer = words[++i];
        } else {
            return usage_error();
        }
    }
    return run(words[0], size, steps, threads, bf16, recompute, save_path, optimizer);
}
