#include "kernels/hash/tree_hash.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/rng.h"

namespace Atoll::kernels {
namespace {

Bytes random_bytes(std::size_t size) {
    Rng rng(7);
    Bytes bytes(size);
    for (auto& byte : bytes) byte = static_cast<std::byte>(rng.bits32() & 0xffU);
    return bytes;
}

TEST(TreeHash, leaves_are_ordinary_blake2b) {
    const Bytes bytes = random_bytes(19 * kLeafBytes + 4321);
    std::vector<Hash> hashes(20);
    hash_leaves(bytes, hashes);
    for (std::size_t i = 0; i < hashes.size(); ++i) {
        const std::size_t offset = i * kLeafBytes;
        EXPECT_EQ(hashes[i],
                  blake2b(ByteView(bytes).subspan(offset, std::min(kLeafBytes, bytes.size() - offset))))
            << i;
    }
}

TEST(TreeHash, is_the_documented_function_of_size_and_leaves) {
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{1}, kLeafBytes - 1, kLeafBytes, kLeafBytes + 1, 9 * kLeafBytes}) {
        const Bytes bytes = random_bytes(size);
        Bytes preimage(8);
        for (std::size_t i = 0; i < 8; ++i) preimage[i] = static_cast<std::byte>(size >> (8 * i));
        for (std::size_t at = 0; at < size; at += kLeafBytes) {
            const Hash leaf = blake2b(ByteView(bytes).subspan(at, std::min(kLeafBytes, size - at)));
            preimage.insert(preimage.end(), leaf.begin(), leaf.end());
        }
        EXPECT_EQ(tree_hash(bytes), blake2b(preimage)) << size;
    }
}

TEST(TreeHash, taken_while_the_payload_arrives_is_the_same) {
    const Bytes bytes = random_bytes(5 * kLeafBytes + 77);
    TreeHash hash(bytes);
    for (std::size_t available = 0; available < bytes.size(); available += 50'001) hash.advance(available);
    hash.advance(bytes.size());
    EXPECT_EQ(hash.finish(), tree_hash(bytes));
}

TEST(TreeHash, every_bit_counts) {
    Bytes bytes = random_bytes(4 * kLeafBytes);
    const Hash before = tree_hash(bytes);
    bytes[3 * kLeafBytes + 5] ^= std::byte{1};
    EXPECT_NE(tree_hash(bytes), before);
}

}  // namespace
}  // namespace Atoll::kernels
