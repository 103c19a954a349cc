// Who started this process as one of several ranks, by the variables that launchers set.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"

namespace Atoll::kernels {

struct Launch {
    std::string launcher = "none";  // or mpirun, torchrun, slurm
    int rank = 0;
    int size = 1;
    int local_rank = 0;   // among the ranks of this machine
    std::string address;  // where rank 0 is met; empty: mpirun says it
    std::uint16_t port = 0;
};

// `wanted`: a launcher's name, to look at its variables only; auto: whichever are there (mpirun's before
// torchrun's before Slurm's, which processes inside a job inherit); none: a process without others. Errors
// (invalid): variables that contradict each other or are missing, named with their values.
[[nodiscard]] Result<Launch> detect_launch(const std::string& wanted,
                                           const std::function<const char*(const char*)>& environment);

}  // namespace Atoll::kernels
