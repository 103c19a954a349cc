// The door of the shared object: what kernels/device.cc looks up in it. Plain C, since it crosses dlopen().
#pragma once

#include "kernels/flat.h"
#include "kernels/ops.h"

namespace Atoll::kernels::cuda {

inline constexpr const char* kBackendFile = "libatoll-cuda.so";
inline constexpr const char* kMakeSymbol = "atoll_make_cuda_ops";

// The operations of device 0, to be deleted by the caller, and memory that it shares with the host; or
// nullptr, and why in `error` (NUL-terminated).
using MakeCudaOps = Ops* (*)(PageSource* shared, char* error, std::size_t error_bytes);

// The oldest card that the kernels are built for.
inline constexpr int kComputeMajorMin = 8;

}  // namespace Atoll::kernels::cuda
