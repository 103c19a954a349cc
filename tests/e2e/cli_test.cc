// The real program on small settings: data, training, resuming, formats, and every kind of wrong input.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <cstring>
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
    // " of a" continued by " text" or by "zzzzz", in llm.c's format.
    void write_question() const {
        const std::string context = " of a", right = " text", wrong = "zzzzz";
        std::vector<std::uint16_t> numbers = {65535, 0, 0, 1, 2};
        for (const std::string& text : {context, wrong, right}) {
            numbers.push_back(static_cast<std::uint16_t>(text.size()));
            for (const char c : text) numbers.push_back(static_cast<unsigned char>(c));
        }
        numbers[1] = static_cast<std::uint16_t>(2 * numbers.size());
        std::string bytes(1024, '\0');
        const std::int32_t header[] = {20240522, 1, 1};
        std::memcpy(bytes.data(), header, sizeof header);
        bytes.append(reinterpret_cast<const char*>(numbers.data()), 2 * numbers.size());
        write("question.bin", bytes);
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

TEST_F(Cli, A_grown_model_computes_the_same_and_goes_on_with_its_optimizer) {
    prepare();
    const Said small = train("--steps 20 --out small --set schedule.steps=40");
    ASSERT_EQ(small.exit_code, 0) << small.error;
    const Said grown = atoll("grow --model small --width 64 --depth 2 --out grown --json --quiet");
    ASSERT_EQ(grown.exit_code, 0) << grown.error;
    const auto object = grown.json();
    EXPECT_LT(object["max_logit_difference"].get<double>(), 2e-5);
    EXPECT_GT(object["parameters_after"].get<double>(), 3 * object["parameters_before"].get<double>());
    EXPECT_EQ(object["optimizer_state"], true);
    EXPECT_EQ(object["hash"].get<std::string>().size(), 64U);
    const auto before = atoll("eval --model small --data data --json --quiet").json();
    const auto after = atoll("eval --model grown --data data --json --quiet").json();
    EXPECT_NEAR(before["loss"].get<double>(), after["loss"].get<double>(), 1e-5);

    const std::string wide =
        "--set model.layers=2 --set model.width=64 --set model.heads=4 --set model.kv_heads=4 --set "
        "model.inner=128 ";
    const Said on = train(wide + "--steps 40 --out large --resume-from grown");
    ASSERT_EQ(on.exit_code, 0) << on.error;
    EXPECT_EQ(on.json()["steps"], 40);
    EXPECT_LT(on.json()["val_loss"].get<double>(), after["loss"].get<double>());
    const Said anew = train(wide + "--steps 5 --out anew --init grown --set run.initial_model=" +
                            object["hash"].get<std::string>());
    ASSERT_EQ(anew.exit_code, 0) << anew.error;

    for (const std::string format : {"bf16", "int8"}) {
        const std::string kept = "--set optimizer.state=" + format + " ";
        ASSERT_EQ(train(kept + "--steps 10 --out small-" + format).exit_code, 0);
        const Said packed = atoll("grow --model small-" + format + " --width 64 --depth 2 --out grown-" +
                                  format + " --json --quiet");
        ASSERT_EQ(packed.exit_code, 0) << packed.error;
        EXPECT_EQ(packed.json()["optimizer_state"], true);
        const Said further =
            train(wide + kept + "--steps 20 --out large-" + format + " --resume-from grown-" + format);
        EXPECT_EQ(further.exit_code, 0) << further.error;
    }

    EXPECT_EQ(atoll("grow --model small --width 80 --out x --quiet").exit_code, 2);
    EXPECT_THAT(atoll("grow --model small --width 80 --out x --quiet").error,
                HasSubstr("--width 80: expected a multiple of the model's width (32)"));
    EXPECT_THAT(train("--steps 5 --out y --init grown").error, HasSubstr("width 64"));
    EXPECT_THAT(
        train(wide + "--steps 5 --out y --init grown --set run.initial_model=" + std::string(64, '0')).error,
        HasSubstr(object["hash"].get<std::string>()));
    EXPECT_THAT(train("--steps 5 --out y --set run.initial_model=" + std::string(64, '0')).error,
                HasSubstr("give its folder with --init"));
    const Said other = train("--steps 40 --out y --set optimizer.name=lion --resume-from small");
    EXPECT_EQ(other.exit_code, 2);
    EXPECT_THAT(other.error, HasSubstr("optimizer.name = adamw, this run has optimizer.name = lion"));
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

TEST_F(Cli, Tunes_without_gradients) {
    prepare();
    const Said start = train("--steps 30 --out run --set optimizer.learning_rate=0.01");
    ASSERT_EQ(start.exit_code, 0) << start.error;
    for (const char* optimizer : {"mezo", "dizo"}) {
        const Said tuned =
            train(std::string("--steps 120 --init run --set optimizer.learning_rate=2e-4 --set "
                              "schedule.name=constant --set optimizer.name=") +
                  optimizer + " --out " + optimizer);
        ASSERT_EQ(tuned.exit_code, 0) << tuned.error;
        EXPECT_LT(tuned.json()["val_loss"].get<double>(), start.json()["val_loss"].get<double>())
            << optimizer;
    }
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
    EXPECT_NEAR(loss["bits_per_byte"].get<double>(), loss["loss"].get<double>() / std::log(2.0), 1e-9)
        << "a token is a byte";

    const Said text = atoll("generate --model run --prompt 'line 1' --tokens 20 --json --quiet");
    EXPECT_EQ(text.json()["tokens"], 20) << text.error;
    EXPECT_EQ(text.json()["text"],
              atoll("generate --model run --prompt 'line 1' --tokens 20 --json --quiet").json()["text"]);

    const Said exported = atoll("export --model run --to hf --out hf --json");
    ASSERT_EQ(exported.exit_code, 0) << exported.error;
    EXPECT_EQ(atoll("eval --model hf --data data --json --quiet").json()["loss"], loss["loss"]);
    write_question();
    const auto answers = atoll("eval --model hf --questions question.bin --json --quiet").json();
    EXPECT_EQ(answers["questions"], 1) << answers.dump();
    EXPECT_EQ(answers["accuracy"], 1) << "the text says text, not zzzz";
    EXPECT_EQ(atoll("eval --model hf --data data --questions question.bin --json --quiet").json()["loss"],
              loss["loss"]);
    EXPECT_EQ(atoll("eval --model hf --json --quiet").exit_code, 2);
    EXPECT_EQ(atoll("eval --model hf --questions text.txt --json --quiet").exit_code, 1);

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

TEST_F(Cli, Topology_reports_every_promised_field_of_every_topology) {
    const auto items = atoll("list topologies --json").json()["items"];
    EXPECT_EQ(items.size(), 11U);
    for (const auto& item : items) {
        const auto name = item["name"].get<std::string>();
        SCOPED_TRACE(name);
        const Said said = atoll("topology " + name + " --nodes 16 --json");
        ASSERT_EQ(said.exit_code, 0) << said.error;
        const auto object = said.json();
        for (const char* field : {"rounds", "degree_max", "product_error", "sigma"})
            ASSERT_TRUE(object[field].is_number()) << field << " in " << object.dump();
        for (const char* field : {"exact", "commutes", "doubly_stochastic"})
            ASSERT_TRUE(object[field].is_boolean()) << field << " in " << object.dump();
        EXPECT_EQ(object["period"].is_null(), name == "random_match");
        EXPECT_EQ(object["consensus_error"].size(), object["rounds"].get<std::size_t>());
        EXPECT_EQ(object["exact"], object["product_error"].get<double>() < 1e-12);
        EXPECT_EQ(object["exact"], object["consensus_error"].back().get<double>() < 1e-24);
        EXPECT_EQ(atoll("topology " + name + " --nodes 16 --json").out, said.out) << "the same every time";
        EXPECT_EQ(atoll("topology " + name + " --nodes 1 --json").json()["exact"], true);
    }
}

TEST_F(Cli, Topology_of_twenty_three_nodes_is_exact_in_eleven_rounds_and_is_drawn) {
    const Said said = atoll("topology null_cascade --nodes 23 --degree 2 --json --plot cascade.svg");
    ASSERT_EQ(said.exit_code, 0) << said.error;
    const auto object = said.json();
    EXPECT_EQ(object["rounds"], 11);
    EXPECT_EQ(object["period"], 11);
    EXPECT_EQ(object["degree_max"], 2);
    EXPECT_EQ(object["exact"], true);
    EXPECT_EQ(object["commutes"], true);
    EXPECT_LT(object["sigma"], 1e-12);
    const std::string svg = read_text(folder / "cascade.svg").value();
    EXPECT_TRUE(svg.starts_with("<svg ")) << svg.substr(0, 40);
    EXPECT_TRUE(svg.ends_with("</svg>\n"));
    for (const char* text : {">round 11<", "null_cascade", ">base_k, k = 2<", ">ring<", "10⁻¹⁶"})
        EXPECT_THAT(svg, HasSubstr(text));
    EXPECT_THAT(svg, testing::Not(HasSubstr("href")));
    EXPECT_THAT(svg, testing::Not(HasSubstr("nan")));
    const Said table = atoll("topology hierarchical --region-sizes 2,3");
    EXPECT_EQ(table.exit_code, 0);
    EXPECT_THAT(table.out, HasSubstr("0-1: 0.5000  2-3: 0.3333"));
}

TEST_F(Cli, Topology_of_ten_thousand_nodes_says_what_was_not_computed) {
    const auto prime = atoll("topology null_cascade --nodes 9973 --degree 4 --json").json();
    EXPECT_EQ(prime["rounds"], 2493);
    EXPECT_LT(prime["product_error"], 1e-12);
    const auto torus = atoll("topology torus --nodes 10000 --json").json();
    EXPECT_TRUE(torus["sigma"].is_null());
    EXPECT_TRUE(torus["product_error"].is_null());
}

TEST_F(Cli, Topology_names_what_is_wrong_with_its_flags) {
    const std::pair<const char*, const char*> wrong[] = {
        {"ring", "--nodes is missing"},
        {"ring --nodes 0", "--nodes 0: expected 1 to 20000"},
        {"rong --nodes 4", "did you mean ring?"},
        {"null_cascade --nodes 9 --degree 1", "degree 1: expected 2 to 63"},
        {"base_k --nodes 9 --degree 0", "degree 0: expected 1 to 63"},
        {"one_peer_exponential --nodes 9 --degree 3", "degree 3: expected 1"},
        {"hierarchical --region-sizes 2,0", "--region-sizes 0"},
        {"hierarchical --region-sizes 2,3 --nodes 6", "--nodes 6 but --region-sizes has 5 members"},
        {"ring --region-sizes 2,3", "expected topology hierarchical"},
        {"hierarchical --nodes 6 --interval 0", "--interval 0: expected 1 to 1000"},
        {"ring --nodes 6 --rounds 0", "--rounds 0: expected 1 to 100000"},
    };
    for (const auto& [arguments, reason] : wrong) {
        const Said said = atoll(std::string("topology ") + arguments);
        EXPECT_EQ(said.exit_code, 2) << arguments;
        EXPECT_THAT(said.error, HasSubstr(reason)) << arguments;
    }
}

}  // namespace
}  // namespace Atoll::e2e
