// Where each tensor of a transformer lies in its flat vector, by the role it plays. Both families share one
// schedule of operations; they differ in which roles are filled.
#pragma once

#include <cstddef>
#include <limits>
#include <vector>

#include "kernels/flat.h"
#include "model/config.h"

namespace Atoll::model {

// An offset into the flat vector, or absent (the family has no such tensor).
class Role {
  public:
    Role() = default;
    explicit Role(std::size_t offset) : offset_(offset) {}
    bool operator==(const Role&) const = default;
    [[nodiscard]] bool present() const { return offset_ != kAbsent; }
    // nullptr if absent, as kernels::Ops expects.
    template <typename T>
    [[nodiscard]] T* in(T* flat) const {
        return present() ? flat + offset_ : nullptr;
    }

  private:
    static constexpr std::size_t kAbsent = std::numeric_limits<std::size_t>::max();
    std::size_t offset_ = kAbsent;
};

struct Affine {
    Role weight;  // a matrix [out, in], or the scale of a norm
    Role bias;
};

struct BlockWeights {
    Affine attention_norm;
    Affine qkv;  // q, k and v below each other: [(H + 2K) D, C]
    Role q_norm;
    Role k_norm;
    Affine attention_out;
    Affine mlp_norm;
    Affine mlp_in;  // gpt2: [I, C]; llama: gate and up below each other [2 I, C]
    Affine mlp_out;
};

struct Weights {
    Role token_embedding;
    Role position_embedding;
    std::vector<BlockWeights> blocks;
    Affine final_norm;
    Role head;  // = token_embedding if tied
};

// Precondition: `layout` is make_layout(config).
[[nodiscard]] Weights locate_weights(const ModelConfig& config, const kernels::Layout& layout);

// Whether the tensor is the last matrix of a residual branch, or its bias.
[[nodiscard]] bool writes_to_residual(const kernels::TensorSlot& slot);
// Whether the tensor is an embedding or the output head, whose rows are tokens or positions.
[[nodiscard]] bool is_token_table(const kernels::TensorSlot& slot);

}  // namespace Atoll::model
