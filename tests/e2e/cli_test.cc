// The real program on small settings: data, training, resuming, formats, and every kind of wrong input.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "tests/e2e/run_atoll.h"

namespace Atoll::e2e {
namespace {

using testing::HasSubstr;

// A model of a few thousand parameters and steps of a millisecond.
constexpr const char* kSmall =
    " --threads 1 --seed 3 --set model.layers=1 --set model.width=32 --set model.heads=2 --set "
    "model.kv_heads=2"
    " --set model.head_dim=16 --set model.inner=64 --set model.context=32 --set optimizer.batch_sequences=4 "
    "--quiet ";

class Cli : public RunAtoll {
  protected:
    void prepare() const {
        std::string text;
        for (int i = 0; i < 600; ++i)
            text += "line " + std::to_string(i * 7919 % 1000) + " of a text to learn from\n";
        write("text.txt", text);
        const Said said = atoll("data prepare --input text.txt --out data --held-out 0.1 --json --quiet");
        ASSERT_EQ(said.exit_code, 0) << said.error;
        const auto object = said.json();
        EXPECT_EQ(object["tokens"], text.size());
        EXPECT_EQ(object["train_tokens"].get<std::size_t>() + object["val_tokens"].get<std::size_t>(),
                  text.size());
        EXPECT_EQ(object["vocab_size"], 256);
        EXPECT_GE(object["shards"].size(), 2U);
    }
    [[nodiscard]] Said train(const std::string& arguments) const {
        return atoll("train --data data --json" + std::string(kSmall) + arguments);
    }
    [[nodiscard]] std::size_t files_of(const std::string& name) const {
        const auto path = folder / name;
        return std::filesystem::exists(path) ? static_cast<std::size_t>(std::distance(
                                                   std::filesystem::recursive_directory_iterator(path), {}))
                                             : 0;
    }
};

TEST_F(Cli, Trains_and_reports_every_promised_field) {
    prepare();
    const Said said = train("--steps 40 --out run --set optimizer.learning_rate=0.01");
    ASSERT_EQ(said.exit_code, 0) << said.error;
    const auto object = said.json();
    for (const char* field : {"steps", "tokens", "tokens_per_second", "train_loss", "val_loss", "parameters",
                              "peak_rss_bytes", "energy_joules", "carbon_grams"}) {
        ASSERT_TRUE(object[field].is_number()) << field << " in " << object.dump();
    }
    EXPECT_EQ(object["steps"], 40);
    EXPECT_EQ(object["tokens"], 40 * 4 * 32);
    EXPECT_TRUE(object["energy_source"] == "estimated" || object["energy_source"] == "counter");
    EXPECT_LT(object["val_loss"].get<double>(), 5.0) << "untrained bytes cost ln 256 = 5.5 nats";
    EXPECT_EQ(std::count(said.out.begin(), said.out.end(), '\n'), 1);
    for (const char* file : {"run.toml", "meta.json", "metrics.jsonl", "summary.json", "report.html",
                             "checkpoint/latest/model.safetensors"}) {
        EXPECT_TRUE(std::filesystem::exists(folder / "run" / file)) << file;
    }
    const Said again = atoll("report run --out page.html --json");
    EXPECT_EQ(again.json()["path"], "page.html");
}

TEST_F(Cli, An_interrupted_run_continues_to_the_same_loss_bit_for_bit) {
    prepare();
    const auto straight = train("--steps 30 --out straight --set schedule.name=constant").json();
    const Said half =
        train("--steps 12 --out halves --set schedule.name=constant --set schedule.warmup_steps=6");
    ASSERT_EQ(half.exit_code, 0) << half.error;
    const Said rest =
        train("--steps 30 --out halves --set schedule.name=constant --set schedule.warmup_steps=6");
    ASSERT_EQ(rest.exit_code, 0) << rest.error;
    EXPECT_EQ(rest.json()["steps"], 30);
    EXPECT_EQ(rest.json()["tokens"], straight["tokens"]);
    EXPECT_EQ(rest.json()["val_loss"], straight["val_loss"]) << "the same bits";
}

TEST_F(Cli, A_signal_saves_a_checkpoint_and_exits_130) {
    prepare();
    const Said said = shell("atoll train --data data --json --steps 1000000 --out run" + std::string(kSmall) +
                            "--set local.log_steps=1 & node=$!; "
                            "until grep -qs '\"kind\":\"step\"' run/metrics.jsonl; do sleep 0.05; done; kill "
                            "-TERM $node; wait $node");
    EXPECT_EQ(said.exit_code, 130) << said.error;
    const auto object = said.json();
    EXPECT_EQ(object["interrupted"], true);
    EXPECT_TRUE(std::filesystem::exists(folder / object["checkpoint"].get<std::string>() / "DONE"));
}

TEST_F(Cli, Evaluates_generates_exports_and_imports) {
    prepare();
    ASSERT_EQ(train("--steps 10 --out run").exit_code, 0);
    const auto loss = atoll("eval --model run --data data --json --quiet").json();
    ASSERT_TRUE(loss["loss"].is_number()) << loss.dump();
    EXPECT_NEAR(loss["perplexity"].get<double>(), std::exp(loss["loss"].get<double>()), 1e-9);

    const Said text = atoll("generate --model run --prompt 'line 1' --tokens 20 --json --quiet");
    EXPECT_EQ(text.json()["tokens"], 20) << text.error;
    EXPECT_EQ(text.json()["text"],
              atoll("generate --model run --prompt 'line 1' --tokens 20 --json --quiet").json()["text"]);

    const Said exported = atoll("export --model run --to hf --out hf --json");
    ASSERT_EQ(exported.exit_code, 0) << exported.error;
    EXPECT_EQ(atoll("eval --model hf --data data --json --quiet").json()["loss"], loss["loss"]);
    const Said imported = atoll("import hf --out start --json");
    ASSERT_EQ(imported.exit_code, 0) << imported.error;
    EXPECT_EQ(imported.json()["parameters"], exported.json()["parameters"]);
    EXPECT_EQ(atoll("eval --model start --data data --json --quiet").json()["loss"], loss["loss"]);
    const auto continued = train(
                               "--steps 1 --out from --init start --set optimizer.learning_rate=0 --set "
                               "optimizer.weight_decay=0")
                               .json();
    EXPECT_NEAR(continued["val_loss"].get<double>(), loss["loss"].get<double>(), 0.2) << continued.dump();

    EXPECT_EQ(atoll("export --model run --to gguf --out model.gguf").exit_code, 0);
    std::ifstream gguf(folder / "model.gguf", std::ios::binary);
    std::string magic(4, ' ');
    gguf.read(magic.data(), 4);
    EXPECT_EQ(magic, "GGUF");
    EXPECT_EQ(atoll("export --model run --to gguf --out model.gguf").exit_code, 1)
        << "nothing is overwritten";
}

TEST_F(Cli, Fresh_overwrites_nothing_unless_asked_clearly) {
    prepare();
    ASSERT_EQ(train("--steps 3 --out run").exit_code, 0);
    const Said refused = train("--steps 3 --out run --fresh");
    EXPECT_EQ(refused.exit_code, 2);
    EXPECT_THAT(refused.error, HasSubstr("--overwrite"));
    EXPECT_EQ(train("--steps 3 --out run --fresh --overwrite").exit_code, 0);
    const Said other = train("--steps 3 --out run --set optimizer.learning_rate=0.5");
    EXPECT_EQ(other.exit_code, 2);
    EXPECT_THAT(other.error, HasSubstr("another configuration"));
}

TEST_F(Cli, Wrong_configuration_is_exit_2_and_leaves_nothing_behind) {
    prepare();
    for (const auto& [arguments, expected] : std::vector<std::pair<std::string, std::string>>{
             {"--set optimizer.lerning_rate=1", "did you mean optimizer.learning_rate?"},
             {"--set optimizer.learning_rate=fast", "a number"},
             {"--set optimizer.name=adamv", "optimizer.name"},
             {"--set model.heads=3", "heads"},
             {"--stepz 3", "did you mean --steps?"},
             {"--config none.toml", "none.toml"},
         }) {
        const Said said = train("--out run " + arguments);
        EXPECT_EQ(said.exit_code, 2) << arguments << said.error;
        EXPECT_THAT(said.error, HasSubstr(expected));
        EXPECT_EQ(said.json()["exit_code"], 2);
        EXPECT_EQ(files_of("run"), 0U) << arguments;
    }
}

TEST_F(Cli, Damaged_files_are_named_and_leave_nothing_behind) {
    prepare();
    ASSERT_EQ(train("--steps 3 --out run").exit_code, 0);
    // Shards: missing, empty, cut, foreign.
    for (const auto& [command, name] : std::vector<std::pair<std::string, std::string>>{
             {"rm -r data", "data"},
             {": > data/text_train_000001.bin", "text_train_000001.bin"},
             {"truncate -s -3 data/text_train_000001.bin", "text_train_000001.bin"},
             {"printf XXXX | dd of=data/text_train_000001.bin conv=notrunc 2>/dev/null",
              "text_train_000001.bin"},
         }) {
        ASSERT_EQ(shell("cp -r data kept && " + command).exit_code, 0);
        const Said said = train("--steps 3 --out other");
        EXPECT_EQ(said.exit_code, 1) << command;
        EXPECT_THAT(said.error, HasSubstr(name)) << command;
        EXPECT_EQ(files_of("other"), 0U) << command;
        ASSERT_EQ(shell("rm -rf data && mv kept data").exit_code, 0);
    }
    // Checkpoint: a changed byte is found by its hash.
    ASSERT_EQ(shell("printf X | dd of=run/checkpoint/latest/model.safetensors bs=1 seek=2000 conv=notrunc "
                    "2>/dev/null")
                  .exit_code,
              0);
    const Said resumed = train("--steps 5 --out run");
    EXPECT_EQ(resumed.exit_code, 1);
    EXPECT_THAT(resumed.error, HasSubstr("model.safetensors"));
    // Models and tokenizers.
    EXPECT_EQ(atoll("generate --model none --prompt x").exit_code, 1);
    EXPECT_EQ(atoll("import data --out start").exit_code, 1);
    EXPECT_EQ(files_of("start"), 0U);
    write("tokenizer.json", "{\"model\":{\"type\":\"Unigram\"}}");
    const Said tokenizer = atoll("data prepare --input text.txt --out tokens --tokenizer tokenizer.json");
    EXPECT_NE(tokenizer.exit_code, 0);
    EXPECT_THAT(tokenizer.error, HasSubstr("tokenizer.json"));
    EXPECT_EQ(files_of("tokens"), 0U);
    const Said missing = atoll("data prepare --input nothing.txt --out tokens");
    EXPECT_EQ(missing.exit_code, 1);
    EXPECT_THAT(missing.error, HasSubstr("nothing.txt"));
}

TEST_F(Cli, A_full_disk_ends_with_a_message_and_no_half_checkpoint) {
    prepare();
    // The shell's limit on file size stands in for a full disk: writing fails the same way.
    const Said said = shell("ulimit -f 64; trap '' XFSZ; exec atoll train --data data --steps 3 --out run" +
                            std::string(kSmall));
    EXPECT_EQ(said.exit_code, 1);
    EXPECT_THAT(said.error, HasSubstr("checkpoint"));
    EXPECT_FALSE(std::filesystem::exists(folder / "run/checkpoint/latest"));
}

}  // namespace
}  // namespace Atoll::e2e
