// Which way the ranks of a launch talk.
#include <cstdlib>

#include "base/log.h"
#include "kernels/collective/nccl.h"
#include "kernels/collective/open_mpi.h"

namespace Atoll::kernels {

namespace {

// Before the first look at the driver: afterwards nobody reads the variable.
Status pick_card(const Launch& launch) {
    constexpr const char* kVariable = "CUDA_VISIBLE_DEVICES";
    ATOLL_ASSIGN(const std::string card, card_of(launch.local_rank, std::getenv(kVariable)));
    ::setenv(kVariable, card.c_str(), 1);
    return {};
}

}  // namespace

Result<std::unique_ptr<Collective>> make_collective(const Launch& launch, const std::string& device,
                                                    double deadline_seconds) {
    if (launch.size == 1) return make_alone();
    const bool cuda = device == "cuda";
    Result<NcclLibrary> nccl = NcclLibrary{};
    if (cuda) {
        ATOLL_TRY(pick_card(launch));
        nccl = load_nccl();
        if (!nccl.ok()) return nccl.error();
    }
    std::unique_ptr<Mpi> mpi;
    std::unique_ptr<Star> star;
    if (launch.launcher == "mpirun") {
        ATOLL_ASSIGN(mpi, load_mpi());
        ATOLL_ASSIGN(star, meet_by_mpi(*mpi, launch, deadline_seconds));
    } else {
        Listener listener;
        if (launch.rank == 0) {
            ATOLL_ASSIGN(listener, listen_on(launch.port));
        }
        ATOLL_ASSIGN(star, Star::meet({.rank = launch.rank,
                                       .size = launch.size,
                                       .host = launch.address,
                                       .port = launch.port,
                                       .deadline_seconds = deadline_seconds},
                                      std::move(listener)));
    }
    if (cuda) return make_nccl(*nccl, std::move(star));
    if (mpi) return make_open_mpi(std::move(mpi), std::move(star));
    return std::unique_ptr<Collective>(std::move(star));
}

}  // namespace Atoll::kernels
