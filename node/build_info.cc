#include "node/build_info.h"

#ifndef ATOLL_COMMIT  // set by node/CMakeLists.txt for this file alone, so that a commit rebuilds nothing
                      // else
#error "ATOLL_COMMIT is not defined"
#endif

namespace Atoll::node {

const BuildInfo& build_info() {
    static constexpr BuildInfo info{
        .version = ATOLL_VERSION,
        .commit = ATOLL_COMMIT,
        .compiler = "GCC-compatible " __VERSION__,
        .flags = ATOLL_FLAGS,
#ifdef ATOLL_CUDA
        .cuda = true,
#endif
#ifdef ATOLL_MPI
        .mpi = true,
#endif
    };
    return info;
}

}  // namespace Atoll::node
