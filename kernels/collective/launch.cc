#include "kernels/collective/launch.h"

#include <fmt/core.h>

#include <charconv>
#include <optional>

namespace Atoll::kernels {

namespace {

using Environment = std::function<const char*(const char*)>;

constexpr int kRanksMax = 65536;
// torchrun's own agent listens on MASTER_PORT; it says that it is there with this variable.
constexpr const char* kTorchAgent = "TORCHELASTIC_RUN_ID";

struct Names {
    const char* launcher;
    const char* rank;
    const char* size;
    const char* local_rank;
};
constexpr Names kMpirun{"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
                        "OMPI_COMM_WORLD_LOCAL_RANK"};
constexpr Names kTorchrun{"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK"};
constexpr Names kSlurm{"slurm", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"};

std::string text_of(const Environment& environment, const char* name) {
    const char* value = environment(name);
    return value == nullptr ? "" : value;
}

bool is_set(const Environment& environment, const char* name) { return !text_of(environment, name).empty(); }

Error wrong(const std::string& what) { return {ErrorCode::invalid, what}; }

Result<int> number(const Environment& environment, const Names& names, const char* name, int from, int to) {
    const std::string text = text_of(environment, name);
    if (text.empty()) {
        return wrong(fmt::format(
            "{} is missing, though variables of {} are set: expected {}, {} and {}; for a process "
            "without others set local.launcher = none",
            name, names.launcher, names.rank, names.size, names.local_rank));
    }
    int value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (code != std::errc() || end != text.data() + text.size() || value < from || value > to)
        return wrong(fmt::format("{} = {}: expected {} to {}", name, text, from, to));
    return value;
}

Result<Launch> read(const Environment& environment, const Names& names) {
    Launch launch{.launcher = names.launcher};
    ATOLL_ASSIGN(launch.size, number(environment, names, names.size, 1, kRanksMax));
    ATOLL_ASSIGN(launch.rank, number(environment, names, names.rank, 0, kRanksMax));
    if (launch.rank >= launch.size) {
        return wrong(fmt::format("{} = {} and {} = {}: expected a rank below the number of ranks", names.rank,
                                 launch.rank, names.size, launch.size));
    }
    ATOLL_ASSIGN(launch.local_rank, number(environment, names, names.local_rank, 0, launch.size - 1));
    return launch;
}

// Where torchrun's and Slurm's ranks meet.
Status read_address(const Environment& environment, const Names& names, Launch& launch) {
    launch.address = text_of(environment, "MASTER_ADDR");
    if (launch.address.empty() || !is_set(environment, "MASTER_PORT")) {
        return wrong(fmt::format(
            "{} is missing: {} = {} ranks meet at MASTER_ADDR and MASTER_PORT, the host of rank 0 and a "
            "free port of it; for a process without others set local.launcher = none",
            launch.address.empty() ? "MASTER_ADDR" : "MASTER_PORT", names.size, launch.size));
    }
    const bool agent = is_set(environment, kTorchAgent);
    ATOLL_ASSIGN(const int port, number(environment, names, "MASTER_PORT", 1, agent ? 65534 : 65535));
    launch.port = static_cast<std::uint16_t>(agent ? port + 1 : port);
    return {};
}

// mpirun within a script that sets torchrun's variables too is common: then they must say the same.
Status contradiction(const Environment& environment, const char* one, const char* other) {
    const std::string a = text_of(environment, one), b = text_of(environment, other);
    if (a.empty() || b.empty() || a == b) return {};
    return wrong(
        fmt::format("{} = {} contradicts {} = {}: unset one, or name the launcher with local.launcher", one,
                    a, other, b));
}

// In a batch script that srun has not started, Slurm's variables speak of the job, not of this process.
bool is_slurm(const Environment& environment) {
    return is_set(environment, kSlurm.rank) &&
           (is_set(environment, "SLURM_STEP_ID") || is_set(environment, kSlurm.size));
}

const Names* find(const std::string& wanted, const Environment& environment) {
    if (wanted == kMpirun.launcher) return &kMpirun;
    if (wanted == kTorchrun.launcher) return &kTorchrun;
    if (wanted == kSlurm.launcher) return &kSlurm;
    if (wanted == "none") return nullptr;
    if (is_set(environment, kMpirun.rank) || is_set(environment, kMpirun.size)) return &kMpirun;
    if (is_set(environment, kTorchrun.rank) || is_set(environment, kTorchrun.size)) return &kTorchrun;
    return is_slurm(environment) ? &kSlurm : nullptr;
}

}  // namespace

Result<Launch> detect_launch(const std::string& wanted, const Environment& environment) {
    const Names* names = find(wanted, environment);
    if (names == nullptr) return Launch{};
    ATOLL_ASSIGN(Launch launch, read(environment, *names));
    if (names == &kMpirun && wanted == "auto") {
        ATOLL_TRY(contradiction(environment, kMpirun.rank, kTorchrun.rank));
        ATOLL_TRY(contradiction(environment, kMpirun.size, kTorchrun.size));
    }
    if (launch.size == 1) return Launch{};
    if (names != &kMpirun) ATOLL_TRY(read_address(environment, *names, launch));
    return launch;
}

}  // namespace Atoll::kernels
