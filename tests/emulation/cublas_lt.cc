// cuBLASLt of the emulated device. Shapes are checked as cuBLASLt would.
#include <bit>
#include <vector>

#include "kernels/cpu/gemm.h"
#include "kernels/flat.h"
#include "tests/emulation/include/cublasLt.h"

struct cublasLtContext {};

const char* cublasLtGetStatusString(cublasStatus_t status) {
    switch (status) {
        case CUBLAS_STATUS_SUCCESS: return "the operation completed successfully";
        case CUBLAS_STATUS_INVALID_VALUE: return "an unsupported value or parameter was passed";
        case CUBLAS_STATUS_NOT_SUPPORTED: return "the functionality requested is not supported";
    }
    return "unknown status";
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
    *handle = new cublasLtContext;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* description, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
    if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
    *description = new cublasLtMatmulDescOpaque_t;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
    delete description;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description,
                                              cublasLtMatmulDescAttributes_t attribute, const void* value,
                                              std::size_t bytes) {
    const bool pointer = attribute == CUBLASLT_MATMUL_DESC_BIAS_POINTER;
    if (bytes != (pointer ? sizeof(void*) : sizeof(std::int32_t))) return CUBLAS_STATUS_INVALID_VALUE;
    switch (attribute) {
        case CUBLASLT_MATMUL_DESC_TRANSA: std::memcpy(&description->transpose_a, value, bytes); break;
        case CUBLASLT_MATMUL_DESC_TRANSB: std::memcpy(&description->transpose_b, value, bytes); break;
        case CUBLASLT_MATMUL_DESC_EPILOGUE: std::memcpy(&description->epilogue, value, bytes); break;
        case CUBLASLT_MATMUL_DESC_BIAS_POINTER: std::memcpy(&description->bias, value, bytes); break;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType_t type,
                                          std::uint64_t rows, std::uint64_t columns, std::int64_t leading) {
    if (leading < static_cast<std::int64_t>(rows)) return CUBLAS_STATUS_INVALID_VALUE;
    *layout = new cublasLtMatrixLayoutOpaque_t{type, rows, columns, leading};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    delete layout;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
    *preference = new cublasLtMatmulPreferenceOpaque_t;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    delete preference;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void*, std::size_t bytes) {
    const bool size = attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
    return bytes == (size ? sizeof(std::uint64_t) : sizeof(std::uint32_t)) ? CUBLAS_STATUS_SUCCESS
                                                                           : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int wanted,
                                              cublasLtMatmulHeuristicResult_t results[], int* found) {
    if (wanted < 1) return CUBLAS_STATUS_INVALID_VALUE;
    results[0] = {{}, 0, CUBLAS_STATUS_SUCCESS, 1};
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

namespace {

// A column-major operand as row-major floats of gemm: element (i, l) lies at i * row + l * column.
struct Operand {
    std::vector<float> widened;
    const float* values = nullptr;
    std::int64_t row = 0, column = 0;
    std::int64_t rows = 0, columns = 0;  // after the transposition
};

Operand operand_of(const void* data, const cublasLtMatrixLayoutOpaque_t& layout, std::int32_t operation) {
    Operand result;
    if (layout.type == CUDA_R_16BF) {
        const auto* const narrow = static_cast<const std::uint16_t*>(data);
        const std::size_t size = static_cast<std::size_t>(layout.leading) * layout.columns;
        result.widened.resize(size);
        for (std::size_t i = 0; i < size; ++i) {
            result.widened[i] = std::bit_cast<float>(static_cast<std::uint32_t>(narrow[i]) << 16U);
        }
        result.values = result.widened.data();
    } else {
        result.values = static_cast<const float*>(data);
    }
    const auto rows = static_cast<std::int64_t>(layout.rows);
    const auto columns = static_cast<std::int64_t>(layout.columns);
    const bool transposed = operation == CUBLAS_OP_T;
    result.row = transposed ? layout.leading : 1;
    result.column = transposed ? 1 : layout.leading;
    result.rows = transposed ? columns : rows;
    result.columns = transposed ? rows : columns;
    return result;
}

}  // namespace

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t description, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                              cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t, void* d, cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t*, void*, std::size_t, cudaStream_t) {
    const Operand left = operand_of(a, *a_layout, description->transpose_a);
    const Operand right = operand_of(b, *b_layout, description->transpose_b);
    const auto rows = static_cast<std::int64_t>(d_layout->rows);
    const auto columns = static_cast<std::int64_t>(d_layout->columns);
    const bool fits = left.rows == rows && right.columns == columns && left.columns == right.rows &&
                      d_layout->type == CUDA_R_32F && *static_cast<const float*>(alpha) == 1;
    if (!fits) return CUBLAS_STATUS_INVALID_VALUE;
    const bool accumulate = *static_cast<const float*>(beta) != 0;
    if (accumulate && c != d) return CUBLAS_STATUS_NOT_SUPPORTED;
    const bool biased = description->epilogue == CUBLASLT_EPILOGUE_BIAS;
    // Column-major D = op(A) op(B) is row-major D^T = op(B)^T op(A)^T, whose bias runs along a row.
    Atoll::kernels::FlatBuffer scratch(Atoll::kernels::cpu::gemm_scratch(columns, rows, left.columns));
    Atoll::kernels::cpu::gemm({.a = right.values,
                               .a_row = right.column,
                               .a_column = right.row,
                               .b = left.values,
                               .b_row = left.column,
                               .b_column = left.row,
                               .c = static_cast<float*>(d),
                               .c_row = d_layout->leading,
                               .m = columns,
                               .n = rows,
                               .k = left.columns,
                               .bias = biased ? static_cast<const float*>(description->bias) : nullptr,
                               .accumulate = accumulate},
                              scratch.data());
    return CUBLAS_STATUS_SUCCESS;
}
