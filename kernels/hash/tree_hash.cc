#include "kernels/hash/tree_hash.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/hash/tree_hash.cc"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

// BLAKE3 (O'Connor, Aumasson, Neves, Wilcox-O'Hearn, 2020), section 2: constants shared by all targets.
#ifndef ATOLL_KERNELS_HASH_TREE_HASH_CONSTANTS
#define ATOLL_KERNELS_HASH_TREE_HASH_CONSTANTS
namespace Atoll::kernels::blake3 {

constexpr std::uint32_t kIv[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
constexpr std::size_t kPermutation[16] = {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8};
constexpr std::size_t kRounds = 7;

// The words of the message in the order in which each round takes them: the permutation, applied again and
// again.
struct Schedule {
    std::size_t word[kRounds][16];
};
constexpr Schedule make_schedule() {
    Schedule schedule{};
    for (std::size_t i = 0; i < 16; ++i) schedule.word[0][i] = i;
    for (std::size_t round = 1; round < kRounds; ++round) {
        for (std::size_t i = 0; i < 16; ++i) {
            schedule.word[round][i] = schedule.word[round - 1][kPermutation[i]];
        }
    }
    return schedule;
}
constexpr Schedule kSchedule = make_schedule();

constexpr std::size_t kBlockBytes = 64;
constexpr std::size_t kChunkBytes = 1024;
enum Flag : std::uint32_t { chunk_start = 1, chunk_end = 2, parent = 4, root = 8 };

using ChainingValue = TreeHash::ChainingValue;

}  // namespace Atoll::kernels::blake3
#endif

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using namespace blake3;

// Rotations by whole bytes are one shuffle where there is no rotate instruction (before AVX-512).
template <int kBits, class D, class V = hn::Vec<D>>
HWY_INLINE V rotate([[maybe_unused]] D d, V v) {
#if HWY_TARGET > HWY_AVX3 && HWY_TARGET != HWY_SCALAR
    if constexpr (kBits == 16 || kBits == 8) {
        const hn::Repartition<std::uint8_t, D> bytes;
        alignas(16) static constexpr std::uint8_t kBy16[16] = {2,  3,  0, 1, 6,  7,  4,  5,
                                                               10, 11, 8, 9, 14, 15, 12, 13};
        alignas(16) static constexpr std::uint8_t kBy8[16] = {1, 2,  3,  0, 5,  6,  7,  4,
                                                              9, 10, 11, 8, 13, 14, 15, 12};
        return hn::BitCast(d, hn::TableLookupBytes(hn::BitCast(bytes, v),
                                                   hn::LoadDup128(bytes, kBits == 16 ? kBy16 : kBy8)));
    }
#endif
    return hn::RotateRight<kBits>(v);
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE void mix(D d, V& a, V& b, V& c, V& e, V x, V y) {
    a = hn::Add(hn::Add(a, b), x);
    e = rotate<16>(d, hn::Xor(e, a));
    c = hn::Add(c, e);
    b = rotate<12>(d, hn::Xor(b, c));
    a = hn::Add(hn::Add(a, b), y);
    e = rotate<8>(d, hn::Xor(e, a));
    c = hn::Add(c, e);
    b = rotate<7>(d, hn::Xor(b, c));
}

// The compression function (section 2.2) of one block in every lane: h is the chaining value, before and
// after.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void compress(D d, V* h, const V* message, V counter_low, V counter_high,
                         std::uint32_t block_bytes, std::uint32_t flags) {
    V v[16];  // in registers: hence every loop unrolled
#pragma GCC unroll 8
    for (std::size_t i = 0; i < 8; ++i) v[i] = h[i];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[8 + i] = hn::Set(d, kIv[i]);
    v[12] = counter_low;
    v[13] = counter_high;
    v[14] = hn::Set(d, block_bytes);
    v[15] = hn::Set(d, flags);
#pragma GCC unroll 7
    for (std::size_t round = 0; round < kRounds; ++round) {
        const std::size_t* word = kSchedule.word[round];
        mix(d, v[0], v[4], v[8], v[12], message[word[0]], message[word[1]]);
        mix(d, v[1], v[5], v[9], v[13], message[word[2]], message[word[3]]);
        mix(d, v[2], v[6], v[10], v[14], message[word[4]], message[word[5]]);
        mix(d, v[3], v[7], v[11], v[15], message[word[6]], message[word[7]]);
        mix(d, v[0], v[5], v[10], v[15], message[word[8]], message[word[9]]);
        mix(d, v[1], v[6], v[11], v[12], message[word[10]], message[word[11]]);
        mix(d, v[2], v[7], v[8], v[13], message[word[12]], message[word[13]]);
        mix(d, v[3], v[4], v[9], v[14], message[word[14]], message[word[15]]);
    }
#pragma GCC unroll 8
    for (std::size_t i = 0; i < 8; ++i) h[i] = hn::Xor(v[i], v[i + 8]);
}

// One lane, for what is left when the lanes can't be filled.
void compress_block(ChainingValue& h, const std::byte* block, std::uint64_t counter,
                    std::uint32_t block_bytes, std::uint32_t flags) {
    const hn::CappedTag<std::uint32_t, 1> d;
    using V = hn::Vec<decltype(d)>;
    std::uint32_t words[16];
    std::memcpy(words, block, kBlockBytes);
    V message[16];
    V state[8];
    for (std::size_t i = 0; i < 16; ++i) message[i] = hn::Set(d, words[i]);
    for (std::size_t i = 0; i < 8; ++i) state[i] = hn::Set(d, h[i]);
    compress(d, state, message, hn::Set(d, static_cast<std::uint32_t>(counter)),
             hn::Set(d, static_cast<std::uint32_t>(counter >> 32U)), block_bytes, flags);
    for (std::size_t i = 0; i < 8; ++i) h[i] = hn::GetLane(state[i]);
}

#if HWY_TARGET != HWY_SCALAR

#if HWY_TARGET <= HWY_AVX2
using Lanes = hn::CappedTag<std::uint32_t, 8>;
#else
using Lanes = hn::CappedTag<std::uint32_t, 4>;
#endif
using Vector = hn::Vec<Lanes>;

// Four words of every lane: words [at, at + 4) of the inputs that lie `stride` bytes apart, transposed.
HWY_INLINE void load_words(const std::byte* input, std::size_t stride, Vector* words) {
    const Lanes d;
    const hn::Repartition<std::uint64_t, Lanes> pairs;
    Vector rows[4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) {
#if HWY_TARGET <= HWY_AVX2
        const hn::Half<Lanes> half;
        const auto quarter = [&](std::size_t lane) {
            return hn::LoadU(half, reinterpret_cast<const std::uint32_t*>(input + lane * stride));
        };
        rows[i] = hn::Combine(d, quarter(i + 4), quarter(i));
#else
        rows[i] = hn::LoadU(d, reinterpret_cast<const std::uint32_t*>(input + i * stride));
#endif
    }
    const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, rows[0], rows[1]));
    const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, rows[2], rows[3]));
    const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, rows[0], rows[1]));
    const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, rows[2], rows[3]));
    words[0] = hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23));
    words[1] = hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23));
    words[2] = hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23));
    words[3] = hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23));
}

// The chaining values of as many inputs as there are lanes, each of `blocks` whole blocks.
HWY_INLINE void hash_lanes(const std::byte* input, std::size_t stride, std::size_t blocks, Vector counter_low,
                           Vector counter_high, std::uint32_t flags, std::uint32_t first, std::uint32_t last,
                           ChainingValue* values) {
    const Lanes d;
    Vector h[8];
#pragma GCC unroll 8
    for (std::size_t i = 0; i < 8; ++i) h[i] = hn::Set(d, kIv[i]);
    for (std::size_t block = 0; block < blocks; ++block) {
        Vector message[16];
#pragma GCC unroll 4
        for (std::size_t i = 0; i < 4; ++i) {
            load_words(input + block * kBlockBytes + i * 16, stride, message + i * 4);
        }
        compress(d, h, message, counter_low, counter_high, kBlockBytes,
                 flags | (block == 0 ? first : 0) | (block + 1 == blocks ? last : 0));
    }
    alignas(32) std::uint32_t lanes[8][8];
    for (std::size_t i = 0; i < 8; ++i) hn::Store(h[i], d, lanes[i]);
    for (std::size_t lane = 0; lane < hn::Lanes(d); ++lane) {
        for (std::size_t i = 0; i < 8; ++i) values[lane][i] = lanes[i][lane];
    }
}

// The chaining values of `chunks` whole chunks, the first of which is number `first` of the payload; returns
// how many were done (the lanes are always full).
std::size_t hash_chunks(const std::byte* input, std::size_t chunks, std::uint64_t first,
                        ChainingValue* values) {
    const Lanes d;
    const std::size_t lanes = hn::Lanes(d);
    std::size_t done = 0;
    for (; done + lanes <= chunks; done += lanes) {
        alignas(32) std::uint32_t low[8];
        alignas(32) std::uint32_t high[8];
        for (std::size_t lane = 0; lane < lanes; ++lane) {
            low[lane] = static_cast<std::uint32_t>(first + done + lane);
            high[lane] = static_cast<std::uint32_t>((first + done + lane) >> 32U);
        }
        hash_lanes(input + done * kChunkBytes, kChunkBytes, kChunkBytes / kBlockBytes, hn::Load(d, low),
                   hn::Load(d, high), 0, chunk_start, chunk_end, values + done);
    }
    return done;
}

// The parents of pairs of chaining values that lie one after another; `values` may be `children`.
std::size_t hash_parents(const ChainingValue* children, std::size_t parents, ChainingValue* values) {
    const Lanes d;
    const std::size_t lanes = hn::Lanes(d);
    std::size_t done = 0;
    for (; done + lanes <= parents; done += lanes) {
        hash_lanes(reinterpret_cast<const std::byte*>(children + 2 * done), kBlockBytes, 1, hn::Zero(d),
                   hn::Zero(d), parent, 0, 0, values + done);
    }
    return done;
}

#else

std::size_t hash_chunks(const std::byte*, std::size_t, std::uint64_t, ChainingValue*) { return 0; }
std::size_t hash_parents(const ChainingValue*, std::size_t, ChainingValue*) { return 0; }

#endif

}  // namespace Atoll::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace Atoll::kernels {

HWY_EXPORT(compress_block);
HWY_EXPORT(hash_chunks);
HWY_EXPORT(hash_parents);

namespace {

using namespace blake3;

constexpr std::size_t kSubtreeChunks = TreeHash::kSubtreeBytes / kChunkBytes;

// The last compression of a node, not yet done: it is another one for the root (section 2.6).
struct Node {
    ChainingValue input;
    std::array<std::byte, kBlockBytes> block{};
    std::uint64_t counter = 0;
    std::uint32_t block_bytes = kBlockBytes;
    std::uint32_t flags = 0;

    [[nodiscard]] ChainingValue value(std::uint32_t more_flags = 0) const {
        ChainingValue h = input;
        HWY_DYNAMIC_DISPATCH(compress_block)(h, block.data(), counter, block_bytes, flags | more_flags);
        return h;
    }
};

ChainingValue initial() {
    ChainingValue value;
    std::copy(std::begin(kIv), std::end(kIv), value.begin());
    return value;
}

// One chunk of at most kChunkBytes (section 2.4).
Node chunk_node(ByteView chunk, std::uint64_t counter) {
    Node node{.input = initial(), .counter = counter, .flags = chunk_start};
    std::size_t at = 0;
    for (; at + kBlockBytes < chunk.size(); at += kBlockBytes) {
        std::memcpy(node.block.data(), chunk.data() + at, kBlockBytes);
        node.input = node.value();
        node.flags = 0;
    }
    node.block.fill(std::byte{0});
    node.block_bytes = static_cast<std::uint32_t>(chunk.size() - at);
    if (node.block_bytes > 0) std::memcpy(node.block.data(), chunk.data() + at, node.block_bytes);
    node.flags |= chunk_end;
    return node;
}

Node parent_node(const ChainingValue& left, const ChainingValue& right) {
    Node node{.input = initial(), .flags = parent};
    std::memcpy(node.block.data(), left.data(), sizeof(left));
    std::memcpy(node.block.data() + sizeof(left), right.data(), sizeof(right));
    return node;
}

// The top of the tree over at most kSubtreeBytes (section 2.5): joining neighbours level by level, an odd one
// moving up, gives every left subtree the largest power of two of chunks, as the paper has it.
Node subtree_node(ByteView bytes, std::uint64_t first_chunk) {
    const std::size_t chunks = std::max<std::size_t>(1, (bytes.size() + kChunkBytes - 1) / kChunkBytes);
    const auto chunk = [&](std::size_t i) {
        const std::size_t at = i * kChunkBytes;
        return chunk_node(bytes.subspan(at, std::min(kChunkBytes, bytes.size() - at)), first_chunk + i);
    };
    if (chunks == 1) return chunk(0);
    std::array<ChainingValue, kSubtreeChunks> values;
    for (std::size_t i = HWY_DYNAMIC_DISPATCH(hash_chunks)(bytes.data(), bytes.size() / kChunkBytes,
                                                           first_chunk, values.data());
         i < chunks; ++i) {
        values[i] = chunk(i).value();
    }
    std::size_t count = chunks;
    while (count > 2) {
        const std::size_t parents = count / 2;
        for (std::size_t i = HWY_DYNAMIC_DISPATCH(hash_parents)(values.data(), parents, values.data());
             i < parents; ++i) {
            values[i] = parent_node(values[2 * i], values[2 * i + 1]).value();
        }
        if (count % 2 == 1) values[parents] = values[count - 1];
        count = parents + count % 2;
    }
    return parent_node(values[0], values[1]);
}

}  // namespace

Hash tree_hash(ByteView bytes) {
    TreeHash hash(bytes);
    hash.advance(bytes.size());
    return hash.finish();
}

void TreeHash::advance(std::size_t available) {
    // Only with more bytes behind it is a subtree known not to be the last, which finish() takes.
    while ((subtrees_ + 1) * kSubtreeBytes <= available &&
           (subtrees_ + 1) * kSubtreeBytes < payload_.size()) {
        const ByteView bytes = payload_.subspan(subtrees_ * kSubtreeBytes, kSubtreeBytes);
        ChainingValue value = subtree_node(bytes, subtrees_ * kSubtreeChunks).value();
        ++subtrees_;
        for (std::size_t pairs = subtrees_; pairs % 2 == 0; pairs /= 2) {
            value = parent_node(complete_.back(), value).value();
            complete_.pop_back();
        }
        complete_.push_back(value);
    }
}

Hash TreeHash::finish() const {
    Node node = subtree_node(payload_.subspan(subtrees_ * kSubtreeBytes), subtrees_ * kSubtreeChunks);
    for (std::size_t i = complete_.size(); i-- > 0;) node = parent_node(complete_[i], node.value());
    const ChainingValue value = node.value(root);
    Hash hash;
    std::memcpy(hash.data(), value.data(), hash.size());
    return hash;
}

}  // namespace Atoll::kernels
#endif
