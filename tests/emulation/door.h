// The entry of the CUDA backend, which is linked into the tests instead of loaded.
#pragma once

#include "kernels/cuda/backend.h"

// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" Atoll::kernels::Ops* atoll_make_cuda_ops(Atoll::kernels::PageSource* shared, char* error,
                                                    std::size_t error_bytes);
