// Which rank a process is, by the variables of its launcher, and what is said when they make no sense.
#include "kernels/collective/launch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace Atoll::kernels {
namespace {

using testing::HasSubstr;
using Variables = std::map<std::string, std::string>;

Result<Launch> detect(const Variables& variables, const std::string& wanted = "auto") {
    return detect_launch(wanted, [&](const char* name) {
        const auto it = variables.find(name);
        return it == variables.end() ? nullptr : it->second.c_str();
    });
}

std::string refusal(const Variables& variables, const std::string& wanted = "auto") {
    const auto launch = detect(variables, wanted);
    if (launch.ok()) return "accepted";
    EXPECT_EQ(launch.error().code, ErrorCode::invalid);
    return launch.error().message;
}

const Variables kMpirun = {
    {"OMPI_COMM_WORLD_RANK", "2"}, {"OMPI_COMM_WORLD_SIZE", "4"}, {"OMPI_COMM_WORLD_LOCAL_RANK", "0"}};
const Variables kTorchrun = {{"RANK", "3"},
                             {"WORLD_SIZE", "4"},
                             {"LOCAL_RANK", "1"},
                             {"MASTER_ADDR", "first.example.org"},
                             {"MASTER_PORT", "29500"}};
const Variables kSlurm = {{"SLURM_PROCID", "1"},  {"SLURM_NTASKS", "2"},     {"SLURM_LOCALID", "1"},
                          {"SLURM_STEP_ID", "0"}, {"MASTER_ADDR", "node01"}, {"MASTER_PORT", "29500"}};

Variables with(Variables variables, const Variables& more) {
    for (const auto& [name, value] : more) variables[name] = value;
    return variables;
}

Variables without(Variables variables, const std::string& name) {
    variables.erase(name);
    return variables;
}

TEST(Launch, A_process_that_nobody_launched_is_alone) {
    for (const Variables& variables : {Variables{}, Variables{{"MASTER_ADDR", "host"}},
                                       // in a batch script, outside srun
                                       Variables{{"SLURM_PROCID", "0"}, {"SLURM_LOCALID", "0"}}}) {
        const auto launch = detect(variables);
        ASSERT_TRUE(launch.ok()) << launch.error().message;
        EXPECT_EQ(launch->launcher, "none");
        EXPECT_EQ(launch->size, 1);
    }
}

TEST(Launch, Each_launcher_says_who_we_are) {
    const auto mpirun = detect(kMpirun);
    ASSERT_TRUE(mpirun.ok());
    EXPECT_EQ(mpirun->launcher, "mpirun");
    EXPECT_EQ(mpirun->rank, 2);
    EXPECT_EQ(mpirun->size, 4);
    EXPECT_EQ(mpirun->local_rank, 0);
    const auto torchrun = detect(kTorchrun);
    ASSERT_TRUE(torchrun.ok());
    EXPECT_EQ(torchrun->launcher, "torchrun");
    EXPECT_EQ(torchrun->rank, 3);
    EXPECT_EQ(torchrun->local_rank, 1);
    EXPECT_EQ(torchrun->address, "first.example.org");
    EXPECT_EQ(torchrun->port, 29500);
    const auto slurm = detect(kSlurm);
    ASSERT_TRUE(slurm.ok());
    EXPECT_EQ(slurm->launcher, "slurm");
    EXPECT_EQ(slurm->rank, 1);
    EXPECT_EQ(slurm->address, "node01");
}

TEST(Launch, Torchruns_own_store_keeps_its_port) {
    const auto launch = detect(with(kTorchrun, {{"TORCHELASTIC_RUN_ID", "none"}}));
    ASSERT_TRUE(launch.ok());
    EXPECT_EQ(launch->port, 29501);
    EXPECT_THAT(refusal(with(kTorchrun, {{"TORCHELASTIC_RUN_ID", "none"}, {"MASTER_PORT", "65535"}})),
                HasSubstr("MASTER_PORT = 65535: expected 1 to 65534"));
}

TEST(Launch, The_innermost_launcher_counts) {
    // mpirun in a Slurm job, torchrun in one.
    EXPECT_EQ(detect(with(kSlurm, kMpirun))->launcher, "mpirun");
    EXPECT_EQ(detect(with(kSlurm, kTorchrun))->launcher, "torchrun");
    // Or as it is told.
    EXPECT_EQ(detect(with(kSlurm, kMpirun), "slurm")->rank, 1);
    EXPECT_EQ(detect(with(kMpirun, kTorchrun), "torchrun")->rank, 3);
    EXPECT_EQ(detect(with(kMpirun, kTorchrun), "none")->size, 1);
}

TEST(Launch, One_rank_is_a_process_without_others) {
    const auto launch = detect({{"RANK", "0"}, {"WORLD_SIZE", "1"}, {"LOCAL_RANK", "0"}});
    ASSERT_TRUE(launch.ok()) << launch.error().message;
    EXPECT_EQ(launch->launcher, "none");
}

TEST(Launch, Missing_variables_are_named) {
    EXPECT_THAT(refusal(without(kMpirun, "OMPI_COMM_WORLD_SIZE")),
                HasSubstr("OMPI_COMM_WORLD_SIZE is missing"));
    EXPECT_THAT(refusal(without(kTorchrun, "WORLD_SIZE")), HasSubstr("WORLD_SIZE is missing"));
    EXPECT_THAT(refusal(without(kTorchrun, "RANK")), HasSubstr("RANK is missing"));
    EXPECT_THAT(refusal(without(kTorchrun, "LOCAL_RANK")), HasSubstr("LOCAL_RANK is missing"));
    EXPECT_THAT(refusal(without(kTorchrun, "MASTER_ADDR")), HasSubstr("MASTER_ADDR is missing"));
    EXPECT_THAT(refusal(without(kSlurm, "MASTER_PORT")),
                HasSubstr("MASTER_PORT is missing: SLURM_NTASKS = 2 ranks meet"));
    EXPECT_THAT(refusal(without(kSlurm, "SLURM_NTASKS")), HasSubstr("SLURM_NTASKS is missing"));
    EXPECT_THAT(refusal({}, "mpirun"), HasSubstr("OMPI_COMM_WORLD_SIZE is missing"));
}

TEST(Launch, Contradictions_are_named_with_their_values) {
    EXPECT_THAT(refusal(with(kMpirun, {{"RANK", "1"}})),
                HasSubstr("OMPI_COMM_WORLD_RANK = 2 contradicts RANK = 1"));
    EXPECT_THAT(refusal(with(kMpirun, {{"RANK", "2"}, {"WORLD_SIZE", "8"}})),
                HasSubstr("OMPI_COMM_WORLD_SIZE = 4 contradicts WORLD_SIZE = 8"));
    EXPECT_EQ(refusal(with(kMpirun, {{"RANK", "2"}, {"WORLD_SIZE", "4"}})), "accepted");
    EXPECT_THAT(refusal(with(kTorchrun, {{"RANK", "4"}})), HasSubstr("RANK = 4 and WORLD_SIZE = 4"));
    EXPECT_THAT(refusal(with(kTorchrun, {{"LOCAL_RANK", "4"}})),
                HasSubstr("LOCAL_RANK = 4: expected 0 to 3"));
}

TEST(Launch, What_is_no_number_is_refused) {
    for (const char* text : {"x", "-1", "1x", "1.5", "99999999999999999999"}) {
        EXPECT_THAT(refusal(with(kTorchrun, {{"RANK", text}})), HasSubstr(std::string("RANK = ") + text))
            << text;
    }
    EXPECT_THAT(refusal(with(kTorchrun, {{"WORLD_SIZE", "0"}})), HasSubstr("WORLD_SIZE = 0"));
    EXPECT_THAT(refusal(with(kTorchrun, {{"MASTER_PORT", "70000"}})), HasSubstr("MASTER_PORT = 70000"));
}

}  // namespace
}  // namespace Atoll::kernels
