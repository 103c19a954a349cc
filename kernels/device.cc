// Which device computes: the CPU, or the CUDA backend, a shared object beside the program that is loaded only
// where a driver is (loading cuBLASLt would cost every process 0.4 s and 215 MB).
#include <dlfcn.h>

#include <filesystem>

#include "base/log.h"
#include "kernels/cuda/backend.h"
#include "kernels/ops.h"

namespace Atoll::kernels {

namespace {

Error unavailable(const std::string& why) {
    return {ErrorCode::unavailable, "device cuda: " + why + "; use device cpu or auto"};
}

Result<std::unique_ptr<Ops>> make_cuda_ops() {
    std::error_code code;
    const auto program = std::filesystem::read_symlink("/proc/self/exe", code);
    const auto backend = program.parent_path() / cuda::kBackendFile;
    if (!std::filesystem::exists(backend, code)) {
        return unavailable("this build has no CUDA backend (" + backend.string() +
                           " is not there); build Atoll where the CUDA toolkit is");
    }
    if (dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL) == nullptr) {
        return unavailable("this machine has no NVIDIA driver (libcuda.so.1 is not there)");
    }
    void* const library = dlopen(backend.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return unavailable(dlerror());
    const auto make = reinterpret_cast<cuda::MakeCudaOps>(dlsym(library, cuda::kMakeSymbol));
    if (make == nullptr) return unavailable(backend.string() + " is of another version of Atoll");
    char error[512] = "";
    PageSource shared;
    std::unique_ptr<Ops> ops(make(&shared, error, sizeof error));
    if (!ops) return unavailable(error);
    set_page_source(shared);
    return ops;
}

}  // namespace

Result<std::unique_ptr<Ops>> make_ops(const std::string& device, int threads) {
    if (device == "cuda") return make_cuda_ops();
    if (device == "auto") {
        // Until the CUDA backend has run on hardware nobody gets it unasked (docs/explanation/cuda.md).
        log::debug("device auto: the CPU; --device cuda tries a GPU");
        return make_cpu_ops(threads);
    }
    if (device == "cpu") return make_cpu_ops(threads);
    return Error{ErrorCode::invalid, "device '" + device + "': expected cpu, cuda or auto"};
}

}  // namespace Atoll::kernels
