// Collective operations on floats by NCCL, on the cards of an island. The library is loaded at run time:
// nothing else needs it. Vectors lie in memory that card and host share (kernels/flat.h); an operation
// returns when its result is there.
#pragma once

#include "kernels/collective/star.h"

namespace Atoll::kernels {

// Of NCCL's C interface what is used here; the types have the layout of nccl.h, which never changes within
// version 2.
struct NcclUniqueId {
    char bytes[128];
};
using NcclComm = struct ncclComm*;
using NcclStream = struct CUstream_st*;
struct NcclLibrary {
    int (*get_version)(int* version);
    int (*get_unique_id)(NcclUniqueId* id);
    int (*comm_init_rank)(NcclComm* comm, int ranks, NcclUniqueId id, int rank);
    int (*comm_destroy)(NcclComm comm);
    int (*comm_abort)(NcclComm comm);
    int (*comm_get_async_error)(NcclComm comm, int* error);
    int (*reduce)(const void* from, void* to, std::size_t count, int type, int operation, int root,
                  NcclComm comm, NcclStream stream);
    int (*broadcast)(const void* from, void* to, std::size_t count, int type, int root, NcclComm comm,
                     NcclStream stream);
    int (*group_start)();
    int (*group_end)();
    const char* (*get_error_string)(int result);
    // Of the CUDA driver: whether all work of a stream is done.
    int (*stream_query)(NcclStream stream);
};

inline constexpr const char* kNcclFile = "libnccl.so.2";
inline constexpr const char* kCudaDriverFile = "libcuda.so.1";

// Errors (unavailable): a library is not there, or lacks a function (named).
[[nodiscard]] Result<NcclLibrary> load_nccl(const std::string& nccl = kNcclFile,
                                            const std::string& driver = kCudaDriverFile);

// The ranks of `star`, each with a card of its own, that of the calling thread.
[[nodiscard]] Result<std::unique_ptr<Collective>> make_nccl(const NcclLibrary& library,
                                                            std::unique_ptr<Star> star);

// Which of the machine's cards the rank numbered `local_rank` on it computes with, as CUDA_VISIBLE_DEVICES;
// `visible` is its present value (nullptr: all). Errors (invalid): there are fewer.
[[nodiscard]] Result<std::string> card_of(int local_rank, const char* visible);

}  // namespace Atoll::kernels
