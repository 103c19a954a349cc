// What a run leaves behind: metrics.jsonl, TensorBoard events, progress lines, energy, run folders, reports.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "node/config.h"
#include "node/observe/append_file.h"
#include "node/observe/energy.h"
#include "node/observe/jsonl.h"
#include "node/observe/progress.h"
#include "node/observe/report.h"
#include "node/observe/run_folder.h"
#include "node/observe/tfevents.h"

namespace Atoll::node {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

struct ObserveTest : testing::Test {
    fs::path folder = fs::path(testing::TempDir()) / ("atoll_observe_" + std::to_string(::getpid()));
    ObserveTest() { fs::create_directories(folder); }
    ~ObserveTest() override { fs::remove_all(folder); }

    static Event step_event(std::uint64_t step, double loss) {
        return {1700000000.125, "step", step, {{"loss", loss}, {"tokens", std::int64_t{7}}}};
    }
    [[nodiscard]] std::string text_of(const fs::path& path) const { return read_text(path).value(); }
};

TEST_F(ObserveTest, Crc32c_of_the_check_string) {
    EXPECT_EQ(crc32c(as_byte_view("123456789")), 0xe3069283U);
    EXPECT_EQ(masked_crc32c(as_byte_view("123456789")), 0xc78ab0e5U);
}

// Both records were decoded with protoc and read by TensorBoard.
TEST_F(ObserveTest, Event_records_equal_the_known_bytes) {
    EXPECT_EQ(to_hex(tf_version_record(1700000000)),
              "1800000000000000a37f4b220900000040fc54d9411a0d627261696e2e4576656e743a32eced8f9d");
    EXPECT_EQ(
        to_hex(tf_scalar_record(1700000000, 300, "train/loss", 2.5F)),
        "2100000000000000017becf60900000040fc54d94110ac022a130a110a0a747261696e2f6c6f73731500002040dd660eba");
}

TEST_F(ObserveTest, Event_file_holds_the_version_and_a_record_for_each_number) {
    const auto sink = open_tfevents(folder / "tb");
    ASSERT_TRUE(sink.ok()) << sink.error().message;
    ASSERT_TRUE((*sink)->write(step_event(3, 1.5)).ok());
    const fs::path file = fs::directory_iterator(folder / "tb")->path();
    EXPECT_THAT(file.filename().string(), testing::StartsWith("events.out.tfevents."));
    std::size_t records = 0;
    const std::string bytes = text_of(file);
    for (std::size_t at = 0; at < bytes.size(); ++records) {
        std::uint64_t length = 0;
        ASSERT_LE(at + sizeof length, bytes.size());
        std::memcpy(&length, bytes.data() + at, sizeof length);
        at += 8 + 4 + length + 4;
        ASSERT_LE(at, bytes.size());
    }
    EXPECT_EQ(records, 3U);  // version, train/loss, train/tokens
    EXPECT_THAT(bytes, HasSubstr("train/loss"));
    EXPECT_THAT(bytes, HasSubstr("train/tokens"));
}

TEST_F(ObserveTest, Metrics_line_is_one_object_with_time_kind_and_fields) {
    const std::string line = to_json_line(step_event(12, 2.25));
    EXPECT_EQ(
        line,
        "{\"t\":\"2023-11-14T22:13:20.125Z\",\"kind\":\"step\",\"step\":12,\"loss\":2.25,\"tokens\":7}\n");
    EXPECT_THAT(to_json_line(step_event(1, std::nan(""))), HasSubstr("\"loss\":null"));
}

TEST_F(ObserveTest, Metrics_survive_a_torn_last_line) {
    const fs::path path = folder / "metrics.jsonl";
    {
        const auto sink = open_jsonl(path);
        ASSERT_TRUE(sink.ok());
        ASSERT_TRUE((*sink)->write(step_event(1, 3)).ok());
    }
    std::ofstream(path, std::ios::app) << "{\"t\":\"2026-01-0";  // killed in the middle
    {
        const auto sink = open_jsonl(path);
        ASSERT_TRUE(sink.ok());
        ASSERT_TRUE((*sink)->write(step_event(2, 2)).ok());
    }
    const auto lines = read_jsonl(path);
    ASSERT_TRUE(lines.ok());
    ASSERT_EQ(lines->size(), 2U);
    EXPECT_EQ(nlohmann::json::parse((*lines)[0])["step"], 1);
    EXPECT_EQ(nlohmann::json::parse((*lines)[1])["step"], 2);
}

TEST_F(ObserveTest, A_full_disk_is_an_error_that_names_the_file) {
    auto full = AppendFile::open("/dev/full");
    ASSERT_TRUE(full.ok());
    const Status status = full->append(as_byte_view("x"));
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(status.error().message, HasSubstr("/dev/full: No space left"));
}

TEST(ProgressLine, Terminal_is_redrawn_ten_times_a_second_and_at_the_end) {
    ProgressLine line(true, 120);
    EXPECT_FALSE(line.update({0, 100, 0, 0}, 10.0).has_value());
    EXPECT_FALSE(line.update({1, 100, 1000, 5}, 10.05).has_value());
    const auto drawn = line.update({10, 100, 10000, 4.5}, 11.0);
    ASSERT_TRUE(drawn.has_value());
    EXPECT_EQ(*drawn, " 10% |##..................| 10/100 [0:01<0:09, 10.0k tokens/s, loss 4.5000]");
    EXPECT_TRUE(line.update({100, 100, 100000, 4}, 11.01).has_value());
}

TEST(ProgressLine, Log_gets_a_plain_line_every_five_seconds) {
    ProgressLine line(false, 0);
    EXPECT_FALSE(line.update({0, 100, 0, 0}, 0).has_value());
    EXPECT_FALSE(line.update({9, 100, 0, 0}, 4.9).has_value());
    const auto drawn = line.update({10, 100, 500, 1.25}, 5.0);
    ASSERT_TRUE(drawn.has_value());
    EXPECT_EQ(*drawn, " 10% 10/100 [0:05<0:45, 100 tokens/s, loss 1.2500]");
}

TEST(ProgressLine, Is_cut_to_the_terminal) {
    ProgressLine line(true, 20);
    EXPECT_FALSE(line.update({0, 10, 0, 0}, 0).has_value());
    EXPECT_EQ(line.update({5, 10, 10, 1}, 1).value().size(), 19U);
}

TEST(ProgressLine, Numbers_and_clocks_for_people) {
    EXPECT_EQ(short_number(950), "950");
    EXPECT_EQ(short_number(12345), "12.3k");
    EXPECT_EQ(short_number(999600), "1.0M");
    EXPECT_EQ(clock_text(83), "1:23");
    EXPECT_EQ(clock_text(4000), "1:06:40");
}

struct EnergyTest : ObserveTest {
    void domain(const std::string& name, const std::string& kind, double microjoules) const {
        fs::create_directories(folder / name);
        std::ofstream(folder / name / "name") << kind << "\n";
        std::ofstream(folder / name / "energy_uj") << std::fixed << microjoules << "\n";
        std::ofstream(folder / name / "max_energy_range_uj") << "10000000\n";
    }
};

TEST_F(EnergyTest, Counters_of_packages_and_memory_are_added_and_wrap) {
    domain("intel-rapl:0", "package-0", 9e6);
    domain("intel-rapl:0:0", "core", 0);
    domain("intel-rapl:0:1", "dram", 1e6);
    domain("intel-rapl-mmio:0", "package-0", 0);
    EnergyMeter meter(10, folder);
    domain("intel-rapl:0", "package-0", 1e6);  // 2 J: over the end of its range
    domain("intel-rapl:0:0", "core", 5e6);
    domain("intel-rapl:0:1", "dram", 4e6);  // 3 J
    domain("intel-rapl-mmio:0", "package-0", 7e6);
    const EnergyReading reading = meter.read();
    EXPECT_DOUBLE_EQ(reading.joules, 5);
    EXPECT_EQ(reading.source, "counter");
}

TEST_F(EnergyTest, Without_counters_it_says_estimated) {
    EnergyMeter one(10, folder / "none");
    EnergyMeter two(20, folder / "none");
    volatile double sink = 0;
    while (one.read().joules == 0) sink = sink + 1;
    const EnergyReading reading = one.read();
    EXPECT_EQ(reading.source, "estimated");
    EXPECT_GT(reading.joules, 0);
    EXPECT_THAT(reading.detail, HasSubstr("10 W"));
    EXPECT_GT(two.read().joules, reading.joules);
}

TEST_F(EnergyTest, Carbon_is_energy_times_overhead_times_intensity) {
    EXPECT_DOUBLE_EQ(carbon_grams(3.6e6, 1.5, 400), 600);
}

struct RunFolderTest : ObserveTest {
    RunFolderRequest request{.runs = folder / "runs", .name = "demo", .peer = "abcd1234", .lineage = "one"};
};

TEST_F(RunFolderTest, A_second_process_continues_the_same_lineage_and_no_other) {
    fs::path first;
    {
        auto made = RunFolder::open(request);
        ASSERT_TRUE(made.ok()) << made.error().message;
        EXPECT_FALSE(made->continued());
        first = made->path();
        const auto second = RunFolder::open(request);
        ASSERT_FALSE(second.ok());
        EXPECT_EQ(second.error().code, ErrorCode::unavailable);
    }
    {
        auto again = RunFolder::open(request);
        ASSERT_TRUE(again.ok());
        EXPECT_EQ(again->path(), first);
        EXPECT_TRUE(again->continued());
    }
    request.lineage = "two";
    auto other = RunFolder::open(request);
    ASSERT_TRUE(other.ok());
    EXPECT_NE(other->path(), first);
    EXPECT_FALSE(other->continued());
}

TEST_F(RunFolderTest, Fresh_makes_a_new_folder_and_leaves_the_old) {
    { ASSERT_TRUE(RunFolder::open(request).ok()); }
    request.fresh = true;
    auto fresh = RunFolder::open(request);
    ASSERT_TRUE(fresh.ok());
    EXPECT_FALSE(fresh->continued());
    EXPECT_EQ(std::distance(fs::directory_iterator(folder / "runs" / "demo"), fs::directory_iterator()), 2);
}

TEST_F(RunFolderTest, Fresh_overwrites_a_named_folder_only_when_asked) {
    request.folder = folder / "mine";
    { ASSERT_TRUE(RunFolder::open(request).ok()); }
    std::ofstream(request.folder / "metrics.jsonl") << "{}\n";
    request.fresh = true;
    const auto refused = RunFolder::open(request);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, ErrorCode::invalid);
    EXPECT_THAT(refused.error().message, HasSubstr("--overwrite"));
    EXPECT_TRUE(fs::exists(request.folder / "metrics.jsonl"));
    request.overwrite = true;
    ASSERT_TRUE(RunFolder::open(request).ok());
    EXPECT_FALSE(fs::exists(request.folder / "metrics.jsonl"));
}

TEST_F(RunFolderTest, A_named_folder_with_another_run_or_other_files_is_refused) {
    request.folder = folder / "mine";
    { ASSERT_TRUE(RunFolder::open(request).ok()); }
    request.lineage = "two";
    const auto other = RunFolder::open(request);
    ASSERT_FALSE(other.ok());
    EXPECT_THAT(other.error().message, HasSubstr("another configuration"));

    fs::create_directories(folder / "holiday");
    std::ofstream(folder / "holiday" / "photo.jpg") << "x";
    request.folder = folder / "holiday";
    const auto foreign = RunFolder::open(request);
    ASSERT_FALSE(foreign.ok());
    EXPECT_TRUE(fs::exists(folder / "holiday" / "photo.jpg"));
}

TEST_F(RunFolderTest, Describes_itself_so_that_its_run_toml_loads_again) {
    auto made = RunFolder::open(request);
    ASSERT_TRUE(made.ok());
    Config config;
    ASSERT_TRUE(config.options.set("optimizer.learning_rate", "0.25", "--set").ok());
    ASSERT_TRUE(made->describe(config, "run id", "").ok());
    EXPECT_THAT(text_of(made->path() / "run.toml"), HasSubstr("learning_rate = 0.25  # --set"));
    Config read;
    const Status status = read.options.load_file(made->path() / "run.toml");
    ASSERT_TRUE(status.ok()) << status.error().message;
    EXPECT_EQ(read.run.optimizer.learning_rate, 0.25);
    const auto meta = nlohmann::json::parse(text_of(made->path() / "meta.json"));
    for (const char* key : {"version", "commit", "host", "device", "run", "parent_checkpoint"})
        EXPECT_TRUE(meta.contains(key)) << key;
}

TEST_F(ObserveTest, Report_is_one_page_with_all_runs_and_no_outside_reference) {
    for (const std::string name : {"a", "b"}) {
        const auto sink = open_jsonl(folder / name / "metrics.jsonl");
        ASSERT_TRUE(sink.ok());
        for (std::uint64_t step = 1; step <= 5; ++step)
            ASSERT_TRUE((*sink)->write(step_event(step, 3.0 / static_cast<double>(step))).ok());
        ASSERT_TRUE(write_file(folder / name / "summary.json",
                               std::string_view("{\"sample\":\"</script><b>\",\"val_loss\":1.5}"))
                        .ok());
    }
    const auto page = make_report({folder / "a", folder / "b"});
    ASSERT_TRUE(page.ok()) << page.error().message;
    EXPECT_THAT(*page, HasSubstr("Chart"));
    EXPECT_THAT(*page, HasSubstr("\"val_loss\":1.5"));
    EXPECT_THAT(*page, HasSubstr("/b\""));
    EXPECT_THAT(*page, testing::Not(HasSubstr("</script><b>")));
    EXPECT_THAT(*page, testing::Not(HasSubstr("src=")));
    const auto missing = make_report({folder / "none"});
    ASSERT_FALSE(missing.ok());
    EXPECT_THAT(missing.error().message, HasSubstr("not a run folder"));
}

}  // namespace
}  // namespace Atoll::node
