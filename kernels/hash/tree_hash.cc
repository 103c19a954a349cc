#include "kernels/hash/tree_hash.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/hash/tree_hash.cc"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace Atoll::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Lanes64 = hn::CappedTag<std::uint64_t, 8>;
using Vec64 = hn::Vec<Lanes64>;

// RFC 7693, section 2.6 and 2.7.
constexpr std::uint64_t kIv[8] = {0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b,
                                  0xa54ff53a5f1d36f1, 0x510e527fade682d1, 0x9b05688c2b3e6c1f,
                                  0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};
constexpr std::uint8_t kSigma[12][16] = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
                                         {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
                                         {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
                                         {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
                                         {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
                                         {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
                                         {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
                                         {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
                                         {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
                                         {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
                                         {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
                                         {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3}};
constexpr std::size_t kBlockBytes = 128;

// Rotations by whole bytes are one shuffle where there is no rotate instruction (before AVX-512).
template <int kBits>
HWY_INLINE Vec64 rotate(Vec64 v) {
#if HWY_TARGET > HWY_AVX3 && HWY_TARGET != HWY_SCALAR
    const hn::Repartition<std::uint8_t, Lanes64> bytes;
    alignas(16) static constexpr std::uint8_t kBy16[16] = {2,  3,  4,  5,  6,  7,  0, 1,
                                                           10, 11, 12, 13, 14, 15, 8, 9};
    alignas(16) static constexpr std::uint8_t kBy24[16] = {3,  4,  5,  6,  7,  0, 1, 2,
                                                           11, 12, 13, 14, 15, 8, 9, 10};
    const hn::Repartition<std::uint32_t, Lanes64> words;
    const Lanes64 d;
    if constexpr (kBits == 32) return hn::BitCast(d, hn::Shuffle2301(hn::BitCast(words, v)));
    if constexpr (kBits == 24)
        return hn::BitCast(d, hn::TableLookupBytes(hn::BitCast(bytes, v), hn::LoadDup128(bytes, kBy24)));
    if constexpr (kBits == 16)
        return hn::BitCast(d, hn::TableLookupBytes(hn::BitCast(bytes, v), hn::LoadDup128(bytes, kBy16)));
    if constexpr (kBits == 63) return hn::Or(hn::Add(v, v), hn::ShiftRight<63>(v));
#endif
    return hn::RotateRight<kBits>(v);
}

HWY_INLINE void mix(Vec64& a, Vec64& b, Vec64& c, Vec64& d, Vec64 x, Vec64 y) {
    a = hn::Add(hn::Add(a, b), x);
    d = rotate<32>(hn::Xor(d, a));
    c = hn::Add(c, d);
    b = rotate<24>(hn::Xor(b, c));
    a = hn::Add(hn::Add(a, b), y);
    d = rotate<16>(hn::Xor(d, a));
    c = hn::Add(c, d);
    b = rotate<63>(hn::Xor(b, c));
}

// One block of every lane: `words` holds word w of all lanes at [w * lanes].
HWY_INLINE void compress(Vec64* h, const std::uint64_t* words, std::uint64_t counter, bool last) {
    const Lanes64 d;
    const std::size_t lanes = hn::Lanes(d);
    Vec64 v[16];
    for (std::size_t i = 0; i < 8; ++i) {
        v[i] = h[i];
        v[i + 8] = hn::Set(d, kIv[i]);
    }
    v[12] = hn::Xor(v[12], hn::Set(d, counter));
    if (last) v[14] = hn::Not(v[14]);
#pragma GCC unroll 12
    for (std::size_t round = 0; round < 12; ++round) {
        const auto m = [&](std::size_t i) { return hn::Load(d, words + kSigma[round][i] * lanes); };
        mix(v[0], v[4], v[8], v[12], m(0), m(1));
        mix(v[1], v[5], v[9], v[13], m(2), m(3));
        mix(v[2], v[6], v[10], v[14], m(4), m(5));
        mix(v[3], v[7], v[11], v[15], m(6), m(7));
        mix(v[0], v[5], v[10], v[15], m(8), m(9));
        mix(v[1], v[6], v[11], v[12], m(10), m(11));
        mix(v[2], v[7], v[8], v[13], m(12), m(13));
        mix(v[3], v[4], v[9], v[14], m(14), m(15));
    }
    for (std::size_t i = 0; i < 8; ++i) h[i] = hn::Xor(h[i], hn::Xor(v[i], v[i + 8]));
}

// Hashes as many whole leaves from the front of `bytes` as fill the lanes again and again; returns how many.
std::size_t hash_whole_leaves(const std::byte* bytes, std::size_t leaves, Hash* hashes) {
    const Lanes64 d;
    const std::size_t lanes = hn::Lanes(d);
    if (lanes == 1) return 0;
    alignas(64) std::uint64_t words[16 * 8];
    std::size_t done = 0;
    for (; done + lanes <= leaves; done += lanes) {
        const std::byte* first = bytes + done * kLeafBytes;
        Vec64 h[8];
        for (std::size_t i = 0; i < 8; ++i) h[i] = hn::Set(d, kIv[i]);
        h[0] = hn::Xor(h[0],
                       hn::Set(d, std::uint64_t{0x01010020}));  // 32-byte digest, no key, fan-out and depth 1
        for (std::size_t offset = 0; offset < kLeafBytes; offset += kBlockBytes) {
            for (std::size_t lane = 0; lane < lanes; ++lane) {
                std::uint64_t block[16];
                std::memcpy(block, first + lane * kLeafBytes + offset, kBlockBytes);
                for (std::size_t w = 0; w < 16; ++w) words[w * lanes + lane] = block[w];
            }
            compress(h, words, offset + kBlockBytes, offset + kBlockBytes == kLeafBytes);
        }
        for (std::size_t i = 0; i < 4; ++i) {
            hn::Store(h[i], d, words);
            for (std::size_t lane = 0; lane < lanes; ++lane) {
                std::memcpy(hashes[done + lane].data() + i * 8, &words[lane], 8);
            }
        }
    }
    return done;
}

}  // namespace Atoll::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace Atoll::kernels {

HWY_EXPORT(hash_whole_leaves);

void hash_leaves(ByteView bytes, std::span<Hash> hashes) {
    const std::size_t whole = bytes.size() / kLeafBytes;
    for (std::size_t i = HWY_DYNAMIC_DISPATCH(hash_whole_leaves)(bytes.data(), whole, hashes.data());
         i < hashes.size(); ++i) {
        const std::size_t offset = i * kLeafBytes;
        hashes[i] = blake2b(bytes.subspan(offset, std::min(kLeafBytes, bytes.size() - offset)));
    }
}

Hash tree_hash(ByteView bytes) {
    TreeHash hash(bytes);
    hash.advance(bytes.size());
    return hash.finish();
}

void TreeHash::advance(std::size_t available) {
    if (available < payload_.size()) available -= available % kLeafBytes;
    if (available <= hashed_) return;
    const std::size_t before = leaves_.size();
    leaves_.resize((available + kLeafBytes - 1) / kLeafBytes);
    hash_leaves(payload_.subspan(hashed_, available - hashed_), std::span(leaves_).subspan(before));
    hashed_ = available;
}

Hash TreeHash::finish() const {
    HashStream stream;
    std::uint64_t size = payload_.size();  // little-endian, as every integer on the wire
    stream.update(std::as_bytes(std::span(&size, 1)));
    for (const Hash& leaf : leaves_) stream.update(leaf);
    return stream.finish();
}

}  // namespace Atoll::kernels
#endif
