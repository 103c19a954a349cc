#include "kernels/cuda/products.cuh"

#include <cublasLt.h>

#include <algorithm>
#include <bit>
#include <string>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.cuh"

namespace Atoll::kernels::cuda {

namespace {

constexpr std::uint64_t kWorkspaceBytes = std::uint64_t{32} << 20U;

void check(cublasStatus_t status, const char* what) {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    throw DeviceError(std::string(what) + ": cuBLASLt: " + cublasLtGetStatusString(status));
}

// Largest power of two, up to 256, that divides the address.
Index alignment_of(const void* pointer) {
    const auto address = reinterpret_cast<std::uintptr_t>(pointer);
    return Index{1} << std::min(std::countr_zero(address), 8);
}

}  // namespace

struct Products::Library {
    Library() { check(cublasLtCreate(&handle), "start"); }
    ~Library() { (void)cublasLtDestroy(handle); }
    Library(const Library&) = delete;
    Library& operator=(const Library&) = delete;
    cublasLtHandle_t handle = nullptr;
};

// cuBLASLt is column-major: it computes C^T = op(B)^T op(A)^T, which is our row-major C, so that our b is its
// first operand.
struct Products::Plan {
    Plan(cublasLtHandle_t handle, const Matmul& p, Index align_a, Index align_b, Index align_c) {
        const cudaDataType_t type = p.precision == Precision::bf16 ? CUDA_R_16BF : CUDA_R_32F;
        check(cublasLtMatmulDescCreate(&description, CUBLAS_COMPUTE_32F, CUDA_R_32F), "product");
        set(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
        set(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
        if (p.bias != nullptr) {
            set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
            set_bias(p.bias);
        }
        layout(&first, type, p.transpose_b ? p.k : p.n, p.transpose_b ? p.n : p.k);
        layout(&second, type, p.transpose_a ? p.m : p.k, p.transpose_a ? p.k : p.m);
        layout(&result, CUDA_R_32F, p.n, p.m);
        choose(handle, p, align_a, align_b, align_c);
    }
    ~Plan() {
        (void)cublasLtMatrixLayoutDestroy(result);
        (void)cublasLtMatrixLayoutDestroy(second);
        (void)cublasLtMatrixLayoutDestroy(first);
        (void)cublasLtMatmulDescDestroy(description);
    }
    Plan(const Plan&) = delete;
    Plan& operator=(const Plan&) = delete;

    void set_bias(const float* bias) const {
        check(cublasLtMatmulDescSetAttribute(description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias,
                                             sizeof bias),
              "bias of a product");
    }

    cublasLtMatmulDesc_t description = nullptr;
    cublasLtMatrixLayout_t first = nullptr, second = nullptr, result = nullptr;
    cublasLtMatmulAlgo_t algorithm{};

  private:
    template <typename Value>
    void set(cublasLtMatmulDescAttributes_t attribute, Value value) const {
        const auto number = static_cast<std::int32_t>(value);
        check(cublasLtMatmulDescSetAttribute(description, attribute, &number, sizeof number),
              "attribute of a product");
    }
    static void layout(cublasLtMatrixLayout_t* layout, cudaDataType_t type, Index rows, Index columns) {
        check(cublasLtMatrixLayoutCreate(layout, type, static_cast<std::uint64_t>(rows),
                                         static_cast<std::uint64_t>(columns), rows),
              "layout of a product");
    }
    void choose(cublasLtHandle_t handle, const Matmul& p, Index align_a, Index align_b, Index align_c) {
        cublasLtMatmulPreference_t preference = nullptr;
        check(cublasLtMatmulPreferenceCreate(&preference), "preference");
        const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
            check(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value),
                  "preference");
        };
        prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<std::uint32_t>(align_b));
        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<std::uint32_t>(align_a));
        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<std::uint32_t>(align_c));
        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<std::uint32_t>(align_c));
        cublasLtMatmulHeuristicResult_t best{};
        int found = 0;
        const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
            handle, description, first, second, result, result, preference, 1, &best, &found);
        (void)cublasLtMatmulPreferenceDestroy(preference);
        check(status, "choice of an algorithm");
        if (found == 0) {
            throw DeviceError("cuBLASLt has no algorithm for a product of " + std::to_string(p.m) + " x " +
                              std::to_string(p.n) + " x " + std::to_string(p.k));
        }
        algorithm = best.algo;
    }
};

Products::Products(Context& context) : context_(context), library_(std::make_unique<Library>()) {}
Products::~Products() = default;

Products::Plan& Products::plan_of(const Matmul& p, const void* a, const void* b) {
    const Index align_a = alignment_of(a), align_b = alignment_of(b), align_c = alignment_of(p.c);
    const Shape shape = {p.m,
                         p.n,
                         p.k,
                         p.transpose_a,
                         p.transpose_b,
                         p.bias != nullptr,
                         p.precision == Precision::bf16,
                         align_a,
                         align_b,
                         align_c};
    auto& plan = plans_[shape];
    if (!plan) plan = std::make_unique<Plan>(library_->handle, p, align_a, align_b, align_c);
    return *plan;
}

const void* Products::operand(const float* values, std::size_t size, const Matmul& product,
                              Context::Scratch scratch, bool weight) {
    if (product.precision == Precision::fp32) return values;
    constexpr std::size_t kBytes = 2;
    if (!weight) {
        void* const rounded = context_.scratch<std::byte>(scratch, kBytes * size);
        round_to_bf16(context_, values, rounded, size);
        return rounded;
    }
    Rounded& kept = weights_[{values, size}];
    if (kept.generation != generation_) {
        if (kept.memory.bytes() == 0) kept.memory = Memory(kBytes * size);
        round_to_bf16(context_, values, kept.memory.data(), size);
        kept.generation = generation_;
    }
    return kept.memory.data();
}

void Products::run(const Matmul& p) {
    if (p.m == 0 || p.n == 0) return;
    const void* const a = operand(p.a, static_cast<std::size_t>(p.m * p.k), p, Context::Scratch::left, false);
    const void* const b =
        operand(p.b, static_cast<std::size_t>(p.k * p.n), p, Context::Scratch::right, p.b_is_weight);
    Plan& plan = plan_of(p, a, b);
    if (p.bias != nullptr) plan.set_bias(p.bias);
    const float alpha = 1, beta = p.accumulate ? 1 : 0;
    auto* const workspace = context_.scratch<std::byte>(Context::Scratch::workspace, kWorkspaceBytes);
    check(cublasLtMatmul(library_->handle, plan.description, &alpha, b, plan.first, a, plan.second, &beta,
                         p.c, plan.result, p.c, plan.result, &plan.algorithm, workspace, kWorkspaceBytes,
                         context_.stream()),
          "product");
    context_.synchronize();  // as launch()
}

}  // namespace Atoll::kernels::cuda
