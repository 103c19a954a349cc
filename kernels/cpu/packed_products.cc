#include "kernels/cpu/packed_products.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.hpp>

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kernels/cpu/loops.h"
#include "kernels/flat.h"

namespace Atoll::kernels::cpu {

namespace {

using Memory = dnnl::memory;

// What oneDNN compiles code for: one product of one thread's columns.
struct Shape {
    Index m = 0, n = 0, k = 0;
    Index b_stride = 0;  // of the whole matrix b, whose columns are cut
    Index c_stride = 0;
    bool transpose_a = false, transpose_b = false, accumulate = false, bias = false, weight = false;
    auto operator<=>(const Shape&) const = default;
};

struct Plan {
    dnnl::matmul primitive;
    Memory::desc a, b, c, bias, scratchpad;
};

// A thread's columns of a weight, rounded and laid out for a plan.
struct PackedWeight {
    Memory memory;
    std::uint64_t version = 0;
};

struct WeightKey {
    const float* b = nullptr;
    Index n = 0, k = 0;
    bool transpose_b = false;
    auto operator<=>(const WeightKey&) const = default;
};

constexpr Index kColumnGrain = 64;  // columns of oneDNN's weight blocks

}  // namespace

bool has_bf16_products() {
    const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
    const auto bf16 = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
    return (isa & bf16) == bf16;
}

struct PackedProducts::State {
    Context& context;
    Element element;
    dnnl::engine engine{dnnl::engine::kind::cpu, 0};
    dnnl::stream stream{engine};
    std::map<Shape, std::optional<Plan>> plans;
    std::map<WeightKey, PackedWeight> weights;
    std::uint64_t version = 1;
    FlatBuffer rounded_a, rounded_b;

    [[nodiscard]] Memory::data_type type() const {
        return element == Element::bf16 ? Memory::data_type::bf16 : Memory::data_type::f32;
    }
    const Plan* plan(const Shape& shape);
    void* rounded(const float* from, Index size, FlatBuffer& buffer);
    Memory packed(const Plan& plan, const Matmul& product, const Shape& shape, Index n0);
    void execute(const Plan& plan, const Matmul& product, Index n0, void* a, Memory b, std::size_t slot);
};

PackedProducts::PackedProducts(Context& context, Element element) : state_(new State{context, element}) {}
PackedProducts::~PackedProducts() = default;

void PackedProducts::weights_changed() {
    State& state = *state_;
    // Weights that were not used since the last change are gone, as far as can be known from here.
    std::erase_if(state.weights, [&](const auto& entry) { return entry.second.version < state.version; });
    ++state.version;
}

// nullptr if oneDNN has no code for the shape.
const Plan* PackedProducts::State::plan(const Shape& s) {
    const auto [entry, added] = plans.try_emplace(s);
    if (!added) return entry->second ? &*entry->second : nullptr;
    try {
        const Memory::desc a({s.m, s.k}, type(), s.transpose_a ? Memory::dims{1, s.m} : Memory::dims{s.k, 1});
        const Memory::dims b_strides =
            s.transpose_b ? Memory::dims{1, s.b_stride} : Memory::dims{s.b_stride, 1};
        const Memory::desc b = s.weight ? Memory::desc({s.k, s.n}, type(), Memory::format_tag::any)
                                        : Memory::desc({s.k, s.n}, type(), b_strides);
        const Memory::desc c({s.m, s.n}, Memory::data_type::f32, Memory::dims{s.c_stride, 1});
        const Memory::desc bias({1, s.n}, Memory::data_type::f32, Memory::dims{s.n, 1});
        dnnl::primitive_attr attributes;
        attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
        if (s.accumulate) {
            dnnl::post_ops sum;
            sum.append_sum(1);
            attributes.set_post_ops(sum);
        }
        const auto description = s.bias ? dnnl::matmul::desc(a, b, bias, c) : dnnl::matmul::desc(a, b, c);
        omp_set_num_threads(1);  // the code is made for one thread: ours run it side by side
        const dnnl::matmul::primitive_desc chosen(description, attributes, engine);
        entry->second =
            Plan{dnnl::matmul(chosen), a, chosen.weights_desc(), c, bias, chosen.scratchpad_desc()};
        return &*entry->second;
    } catch (const dnnl::error&) {
        return nullptr;
    }
}

// The operand in the element type: itself, or a rounded copy in `buffer`.
void* PackedProducts::State::rounded(const float* from, Index size, FlatBuffer& buffer) {
    if (element == Element::fp32)
        return const_cast<float*>(from);  // oneDNN's memory has no const; it only reads
    const auto count = static_cast<std::size_t>(size);
    if (buffer.size() < (count + 1) / 2) {
        buffer = FlatBuffer();
        buffer = FlatBuffer((count + 1) / 2);
    }
    auto* const to = reinterpret_cast<std::uint16_t*>(buffer.data());
    to_bf16(context, from, to, count);
    return to;
}

// Columns n0.. of the weight in the layout of the plan; packed again if the weights have changed since. Runs
// on one thread for each n0, after the entry was made.
Memory PackedProducts::State::packed(const Plan& plan, const Matmul& p, const Shape& s, Index n0) {
    const float* const from = p.b + n0 * (p.transpose_b ? p.k : 1);
    PackedWeight& weight = weights.at({from, s.n, s.k, s.transpose_b});
    if (weight.version == version && weight.memory.get_desc() == plan.b) return weight.memory;
    if (weight.version == 0 || weight.memory.get_desc() != plan.b) weight.memory = Memory(plan.b, engine);
    const Memory::dims strides = s.transpose_b ? Memory::dims{1, s.b_stride} : Memory::dims{s.b_stride, 1};
    Memory plain({{s.k, s.n}, Memory::data_type::f32, strides}, engine, const_cast<float*>(from));
    dnnl::reorder(plain, weight.memory).execute(stream, plain, weight.memory);
    weight.version = version;
    return weight.memory;
}

void PackedProducts::State::execute(const Plan& plan, const Matmul& p, Index n0, void* a, Memory b,
                                    std::size_t slot) {
    const std::size_t floats = plan.scratchpad.get_size() / sizeof(float) + 1;
    std::unordered_map<int, Memory> arguments = {
        {DNNL_ARG_SRC, Memory(plan.a, engine, a)},
        {DNNL_ARG_WEIGHTS, std::move(b)},
        {DNNL_ARG_DST, Memory(plan.c, engine, p.c + n0)},
        {DNNL_ARG_SCRATCHPAD, Memory(plan.scratchpad, engine, context.slot_scratch(slot, floats))}};
    if (p.bias != nullptr) {
        arguments.emplace(DNNL_ARG_BIAS, Memory(plan.bias, engine, const_cast<float*>(p.bias + n0)));
    }
    plan.primitive.execute(stream, arguments);
}

bool PackedProducts::run(const Matmul& p) {
    State& state = *state_;
    const Index threads = state.context.threads();
    const Index share = (p.n + threads - 1) / threads;
    const Index columns = (share + kColumnGrain - 1) / kColumnGrain * kColumnGrain;
    if (p.n < kColumnGrain || p.m < 16 || p.k < 16) return false;
    const Index tiles = (p.n + columns - 1) / columns;

    const auto shape_of = [&](Index tile) {
        return Shape{p.m,
                     std::min(columns, p.n - tile * columns),
                     p.k,
                     p.transpose_b ? p.k : p.n,
                     p.n,
                     p.transpose_a,
                     p.transpose_b,
                     p.accumulate,
                     p.bias != nullptr,
                     p.b_is_weight};
    };
    const Shape first = shape_of(0);
    const Shape last = shape_of(tiles - 1);
    const Plan* const first_plan = state.plan(first);
    const Plan* const last_plan = state.plan(last);
    if (first_plan == nullptr || last_plan == nullptr) return false;

    void* const a = state.rounded(p.a, p.m * p.k, state.rounded_a);
    char* b = nullptr;
    if (p.b_is_weight) {
        for (Index tile = 0; tile < tiles; ++tile) {
            const Shape shape = shape_of(tile);
            const float* const from = p.b + tile * columns * (p.transpose_b ? p.k : 1);
            state.weights.try_emplace(WeightKey{from, shape.n, shape.k, shape.transpose_b});
        }
    } else {
        b = static_cast<char*>(state.rounded(p.b, p.k * p.n, state.rounded_b));
    }
    const Index b_bytes = (p.transpose_b ? p.k : 1) * (state.element == Element::bf16 ? 2 : 4);
    state.context.run(static_cast<std::size_t>(tiles), [&](std::size_t slot, std::size_t part) {
        omp_set_num_threads(1);
        const auto tile = static_cast<Index>(part);
        const Plan& plan = tile + 1 == tiles ? *last_plan : *first_plan;
        const Index n0 = tile * columns;
        const Memory weight = p.b_is_weight ? state.packed(plan, p, shape_of(tile), n0)
                                            : Memory(plan.b, state.engine, b + n0 * b_bytes);
        state.execute(plan, p, n0, a, weight, slot);
    });
    return true;
}

}  // namespace Atoll::kernels::cpu
