// The real program under the real mpirun.
#include <gmock/gmock.h>

#include "tests/e2e/small_run.h"

namespace Atoll::e2e {
namespace {

using testing::HasSubstr;

class Mpirun : public SmallRun {
  protected:
    [[nodiscard]] static std::string mpirun(int ranks, const std::string& flags = "",
                                            const std::string& program = "atoll") {
        // Few processors are no reason not to try, nor is being root in a container.
        return std::string("timeout 100 ") + ATOLL_MPIRUN + " --oversubscribe " +
               (::geteuid() == 0 ? "--allow-run-as-root " : "") + flags + " -np " + std::to_string(ranks) +
               " " + program + " ";
    }
};

TEST_F(Mpirun, Two_and_four_ranks_have_the_losses_of_one) {
    prepare();
    ASSERT_EQ(atoll("train --json --steps 8 --out one" + std::string(kSmall)).exit_code, 0);
    for (const int ranks : {2, 4}) {
        const std::string run = "ranks" + std::to_string(ranks);
        const Said said = shell(mpirun(ranks) + "train --json --steps 8 --out " + run + kSmall);
        ASSERT_EQ(said.exit_code, 0) << said.error;
        EXPECT_EQ(said.json()["steps"], 8) << "one object: " << said.out;
        expect_same_losses("one", run, 8);
    }
    // A checkpoint of four is one like any other.
    const Said alone = atoll("train --json --steps 10 --out ranks4" + std::string(kSmall));
    ASSERT_EQ(alone.exit_code, 0) << alone.error;
    EXPECT_EQ(alone.json()["steps"], 10);
}

TEST_F(Mpirun, A_killed_rank_is_named_and_the_checkpoint_stands) {
    prepare();
    const std::string train =
        "atoll train --steps 1000000 --out run" + std::string(kSmall) + "--set local.checkpoint_steps=20";
    write("rank.sh", "if [ $OMPI_COMM_WORLD_RANK = 2 ]; then echo $$ > victim; exec " + train + "; fi\n" +
                         train + "; echo $? > code.$OMPI_COMM_WORLD_RANK\n");
    // Recovery: mpirun does not end the others itself, so what they say and do is their own.
    const Said said = shell(
        mpirun(4, "--enable-recovery --output-filename said", "sh rank.sh") + " & job=$!; " +
        "for i in $(seq 800); do ls run/checkpoint/step-*/DONE >/dev/null 2>&1 && break; sleep 0.05; done; " +
        "kill -9 $(cat victim); wait $job; cat said/*/rank.*/stderr >&2");
    EXPECT_THAT(said.error, HasSubstr("atoll: rank 2 ("));
    EXPECT_THAT(said.error, HasSubstr(") is gone; the checkpoint run/checkpoint/step-"));
    EXPECT_THAT(said.error, HasSubstr("atoll: rank 1 stops: rank 2 ("));
    EXPECT_THAT(said.error, HasSubstr("atoll: rank 3 stops: rank 2 ("));
    for (const char* rank : {"0", "1", "3"}) {
        const auto code = read_text(folder / (std::string("code.") + rank));
        ASSERT_TRUE(code.ok()) << "rank " << rank << " has not ended by itself";
        EXPECT_EQ(*code, "1\n") << rank;
    }
    // And it does stand.
    const auto latest = std::filesystem::read_symlink(folder / "run/checkpoint/latest").string();
    const std::string steps = std::to_string(std::stoi(latest.substr(5)) + 4);
    const Said on = shell(mpirun(2) + "train --json --steps " + steps + " --out run" + kSmall +
                          "--set local.checkpoint_steps=20");
    ASSERT_EQ(on.exit_code, 0) << on.error;
    EXPECT_EQ(std::to_string(on.json()["steps"].get<int>()), steps);
}

TEST_F(Mpirun, Ranks_of_different_configurations_are_refused) {
    prepare();
    const std::string one = "train --json --out run" + std::string(kSmall);
    const Said said = shell(mpirun(1) + one + "--steps 5 : -np 1 atoll " + one + "--steps 6");
    EXPECT_EQ(said.exit_code, 1);
    EXPECT_THAT(said.error, HasSubstr("rank 1 has the run configuration"));
    EXPECT_THAT(said.error, HasSubstr("start all ranks with the same run file and flags"));
}

TEST_F(Mpirun, A_node_of_two_ranks_trains_and_speaks_once) {
    prepare();
    const Said made = shell("atoll init --quiet && atoll keygen --owner --quiet");
    ASSERT_EQ(made.exit_code, 0) << made.error;
    const std::string node =
        "node run.toml --json --set run.rounds=3 --set algorithm.inner_steps=4 --set "
        "schedule.warmup_steps=2 " +
        std::string(kSmall);
    const Said alone = shell("exec atoll " + node + "--out one");
    ASSERT_EQ(alone.exit_code, 0) << alone.error;
    const Said said = shell(mpirun(2) + node + "--out two");
    ASSERT_EQ(said.exit_code, 0) << said.error;
    EXPECT_EQ(said.json()["rounds"], 3) << "one object: " << said.out;
    expect_same_losses("one", "two", 12);
    EXPECT_NEAR(said.json()["val_loss"].get<double>(), alone.json()["val_loss"].get<double>(), 1e-4);
}

}  // namespace
}  // namespace Atoll::e2e
