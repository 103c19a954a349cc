// Collective operations on floats over Open MPI's transfers; what the ranks agree on goes through the star.
#pragma once

#include "kernels/collective/mpi_backend.h"
#include "kernels/collective/star.h"

namespace Atoll::kernels {

// Loads libatoll-mpi.so beside the program. Errors (unavailable): this build has none, or it does not load.
[[nodiscard]] Result<std::unique_ptr<Mpi>> load_mpi();

// The ranks of `launch`, which mpirun started, meet where rank 0 says over MPI.
[[nodiscard]] Result<std::unique_ptr<Star>> meet_by_mpi(Mpi& mpi, const Launch& launch,
                                                        double deadline_seconds);

// `mpi` and `star` are of the same ranks.
[[nodiscard]] std::unique_ptr<Collective> make_open_mpi(std::unique_ptr<Mpi> mpi, std::unique_ptr<Star> star);

}  // namespace Atoll::kernels
