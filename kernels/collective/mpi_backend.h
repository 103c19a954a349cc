// The door of the shared object of Open MPI: what make_collective() looks up in it. It is beside the program
// and loaded only under mpirun, so that nobody else needs Open MPI. Plain C where it crosses dlopen().
#pragma once

#include <cstddef>

namespace Atoll::kernels {

inline constexpr const char* kMpiBackendFile = "libatoll-mpi.so";
inline constexpr const char* kMakeMpiSymbol = "atoll_make_mpi";

struct Transfer {
    float* values = nullptr;
    std::size_t count = 0;
    int rank = 0;  // to or from
};

class Mpi {
  public:
    // Ends MPI: all ranks do, unless abandon() was called.
    virtual ~Mpi() = default;
    [[nodiscard]] virtual int rank() const = 0;
    [[nodiscard]] virtual int size() const = 0;
    // Rank 0's bytes. Waits for all ranks, without a deadline: mpirun has started them together.
    virtual void broadcast(void* bytes, std::size_t size) = 0;

    struct Patience {
        bool (*go_on)(void* context) = nullptr;  // asked while nothing moves
        void* context = nullptr;
    };
    // Sends and receives all of them, in whatever order. Receives from one rank are matched with its sends to
    // this one in order. False: patience has ended; then abandon().
    [[nodiscard]] virtual bool exchange(const Transfer* sends, std::size_t send_count,
                                        const Transfer* receives, std::size_t receive_count,
                                        const Patience& patience) = 0;
    // A rank is gone: nothing can be ended together any more.
    virtual void abandon() = 0;
};

// nullptr, and why in `error` (NUL-terminated).
using MakeMpi = Mpi* (*)(char* error, std::size_t error_bytes);

}  // namespace Atoll::kernels
