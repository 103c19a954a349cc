// Processes that are the ranks of one node without Open MPI: started by hand with torchrun's and Slurm's
// variables.
#include <gmock/gmock.h>

#include "tests/e2e/small_run.h"

namespace Atoll::e2e {
namespace {

using testing::HasSubstr;

class Ranks : public SmallRun {
  protected:
    // One that other programs hardly use, and every test one of its own: a port that was listened on rests
    // for a while.
    [[nodiscard]] static int port() {
        static int uses = 0;
        return 20000 + (static_cast<int>(::getpid()) * 16 + uses++) % 12000;
    }
    // The command as each of `count` ranks, with the launcher's names for rank, number of ranks and local
    // rank; {RANK} in it is the rank. The exit code is rank 0's.
    [[nodiscard]] Said ranks(int count, const std::string& command, const std::string& rank_name = "RANK",
                             const std::string& size_name = "WORLD_SIZE",
                             const std::string& local_name = "LOCAL_RANK") const {
        const int meeting = port();
        std::string line;
        for (int rank = count - 1; rank >= 0; --rank) {
            const std::string number = std::to_string(rank);
            std::string filled = command;
            for (std::size_t at = 0; (at = filled.find("{RANK}")) != std::string::npos;)
                filled.replace(at, 6, number);
            line += rank_name + "=" + number + " " + local_name + "=" + number + " " + size_name + "=" +
                    std::to_string(count) + " MASTER_ADDR=localhost MASTER_PORT=" + std::to_string(meeting) +
                    " timeout 60 " + filled + (rank > 0 ? " & " : "; code=$?; wait; exit $code");
        }
        return shell(line);
    }
};

TEST_F(Ranks, Have_the_losses_of_one_process_and_one_voice) {
    prepare();
    ASSERT_EQ(atoll("train --steps 6 --out one" + std::string(kSmall)).exit_code, 0);
    const Said torchrun = ranks(2, "atoll train --json --steps 6 --out two" + std::string(kSmall));
    ASSERT_EQ(torchrun.exit_code, 0) << torchrun.error;
    EXPECT_EQ(torchrun.json()["tokens"], 6 * 8 * 32) << "one object: " << torchrun.out;
    expect_same_losses("one", "two", 6);
    const Said slurm = ranks(4, "atoll train --json --steps 6 --out four" + std::string(kSmall),
                             "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID");
    ASSERT_EQ(slurm.exit_code, 0) << slurm.error;
    expect_same_losses("one", "four", 6);
}

TEST_F(Ranks, A_run_goes_on_with_another_number_of_ranks) {
    prepare();
    const std::string constant =
        std::string(kSmall) + "--set schedule.name=constant --set schedule.warmup_steps=1 ";
    ASSERT_EQ(atoll("train --steps 8 --out straight" + constant).exit_code, 0);
    ASSERT_EQ(ranks(4, "atoll train --steps 3 --out parts" + constant).exit_code, 0);
    ASSERT_EQ(atoll("train --steps 5 --out parts" + constant).exit_code, 0);
    const Said last = ranks(2, "atoll train --steps 8 --out parts" + constant);
    ASSERT_EQ(last.exit_code, 0) << last.error;
    expect_same_losses("straight", "parts", 8);
}

TEST_F(Ranks, A_signal_to_rank_0_saves_and_ends_all) {
    prepare();
    const std::string variables =
        "WORLD_SIZE=2 MASTER_ADDR=localhost MASTER_PORT=" + std::to_string(port()) + " ";
    // In the foreground: else timeout passes the signal on twice, and a second one ends a program at once.
    const std::string train =
        "timeout --foreground 60 atoll train --json --steps 1000000 --out run" + std::string(kSmall);
    const Said said =
        shell(variables + "RANK=1 LOCAL_RANK=1 " + train + " & other=$!; " + variables +
              "RANK=0 LOCAL_RANK=0 " + train + " & first=$!; " +
              "for i in $(seq 800); do grep -qs '\"kind\":\"step\"' run/metrics.jsonl && break; "
              "sleep 0.05; done; "
              "kill -TERM $first; wait $first; code=$?; wait $other; echo other $? >&2; exit $code");
    EXPECT_EQ(said.exit_code, 130) << said.error;
    EXPECT_THAT(said.error, HasSubstr("other 0"));
    EXPECT_EQ(said.json()["interrupted"], true);
    EXPECT_TRUE(std::filesystem::exists(folder / said.json()["checkpoint"].get<std::string>() / "DONE"));
}

TEST_F(Ranks, Of_different_configurations_or_data_are_named) {
    prepare();
    const Said other = ranks(2, "atoll train --json --steps 6{RANK} --out run" + std::string(kSmall));
    EXPECT_EQ(other.exit_code, 1);
    EXPECT_THAT(other.error, HasSubstr("rank 1 has the run configuration"));
    EXPECT_TRUE(other.json().is_object()) << "one object: " << other.out;
    const Said missing =
        ranks(2, "atoll train --steps 6 --out run" + std::string(kSmall) + "--data data{RANK}");
    EXPECT_NE(missing.exit_code, 0);
    const Said batch =
        ranks(2, "atoll train --steps 6 --out run" + std::string(kSmall) + "--set optimizer.accumulation=8");
    EXPECT_EQ(batch.exit_code, 2);
    EXPECT_THAT(batch.error, HasSubstr("optimizer.batch_sequences = 8: expected a multiple of "
                                       "optimizer.accumulation (8) times the number of ranks (2)"));
    EXPECT_FALSE(std::filesystem::exists(folder / "run")) << "nothing is left behind";
}

TEST_F(Ranks, Are_refused_where_the_variables_make_no_sense) {
    prepare();
    const Said said = shell("RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 atoll train --steps 2" + std::string(kSmall));
    EXPECT_EQ(said.exit_code, 2);
    EXPECT_THAT(said.error, HasSubstr("MASTER_ADDR is missing"));
    const Said none =
        shell("RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 atoll train --steps 2 --out run --set local.launcher=none" +
              std::string(kSmall));
    EXPECT_EQ(none.exit_code, 0) << none.error;
}

// Whatever the machine has: of no card.
TEST_F(Ranks, On_cards_that_are_not_there_stop_with_a_word_about_NCCL) {
    prepare();
    const Said said = ranks(2, "env CUDA_VISIBLE_DEVICES= atoll train --device cuda --steps 2 --out run" +
                                   std::string(kSmall) + "--set local.rank_deadline_seconds=20");
    EXPECT_NE(said.exit_code, 0);
    EXPECT_THAT(said.error, HasSubstr("NCCL"));
}

}  // namespace
}  // namespace Atoll::e2e
