#include "kernels/hash/tree_hash.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace Atoll::kernels {
namespace {

constexpr std::size_t kSubtreeBytes = TreeHash::kSubtreeBytes;

Bytes random_bytes(std::size_t size) {
    Rng rng(7);
    Bytes bytes(size);
    for (auto& byte : bytes) byte = static_cast<std::byte>(rng.bits32() & 0xffU);
    return bytes;
}

// The input of BLAKE3's published test vectors; the hashes are those of `b3sum` 1.2 (the lengths of the
// published vectors among them).
TEST(TreeHash, is_blake3) {
    const struct {
        std::size_t bytes;
        const char* hash;
    } vectors[] = {
        {0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"},
        {1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"},
        {63, "e9bc37a594daad83be9470df7f7b3798297c3d834ce80ba85d6e207627b7db7b"},
        {64, "4eed7141ea4a5cd4b788606bd23f46e212af9cacebacdc7d1f4c6dc7f2511b98"},
        {65, "de1e5fa0be70df6d2be8fffd0e99ceaa8eb6e8c93a63f2d8d1c30ecb6b263dee"},
        {127, "d81293fda863f008c09e92fc382a81f5a0b4a1251cba1634016a0f86a6bd640d"},
        {128, "f17e570564b26578c33bb7f44643f539624b05df1a76c81f30acd548c44b45ef"},
        {1023, "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11"},
        {1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"},
        {1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"},
        {2048, "e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a"},
        {2049, "5f4d72f40d7a5f82b15ca2b2e44b1de3c2ef86c426c95c1af0b6879522563030"},
        {3072, "b98cb0ff3623be03326b373de6b9095218513e64f1ee2edd2525c7ad1e5cffd2"},
        {3073, "7124b49501012f81cc7f11ca069ec9226cecb8a2c850cfe644e327d22d3e1cd3"},
        {4096, "015094013f57a5277b59d8475c0501042c0b642e531b0a1c8f58d2163229e969"},
        {5121, "628bd2cb2004694adaab7bbd778a25df25c47b9d4155a55f8fbd79f2fe154cff"},
        {8192, "aae792484c8efe4f19e2ca7d371d8c467ffb10748d8a5a1ae579948f718a2a63"},
        {8193, "bab6c09cb8ce8cf459261398d2e7aef35700bf488116ceb94a36d0f5f1b7bc3b"},
        {16384, "f875d6646de28985646f34ee13be9a576fd515f76b5b0a26bb324735041ddde4"},
        {31744, "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47"},
        {102400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085"},
        {131071, "de433db299ce5940eb72f08f509f90fa93e8b8c38e26c927310b4f8b98e2f33c"},
        {131072, "306baba93b1a393cbd35172837c98b0f59a41f64e1b2682ae102d8b2534b9e1c"},
        {131073, "f837d4254d24ba3d50fe3743d46e4af6db5f5d6ab0469197d94e7ba1e906c4d8"},
        {262144, "d57dc906e20d3fd326ffaa85535500486f46a0979f5a323f028dcabfd381fd4a"},
        {262145, "531c319935cf78f34869faebd865e5748266b1799039103bfb851a680d9ed30c"},
        {393216, "5718c2d37769a5cb15922ce4387e41d7979a532328179c28b74450a9a32e628f"},
        {1048653, "cbd46f63b687aa43ceb5f5f886a6b606f90ff5444e67a72a64c64c15922f3c69"},
        {917505, "a75177bdc55ad06e49af4d68e078dac916ca063d7e8816183d8ed49123861ac9"},
    };
    for (const auto& vector : vectors) {
        Bytes bytes(vector.bytes);
        for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i % 251);
        EXPECT_EQ(to_hex(tree_hash(bytes)), vector.hash) << vector.bytes;
    }
}

TEST(TreeHash, taken_while_the_payload_arrives_is_the_same) {
    const Bytes bytes = random_bytes(5 * kSubtreeBytes + 77);
    TreeHash hash(bytes);
    for (std::size_t available = 0; available < bytes.size(); available += 50'001) hash.advance(available);
    hash.advance(bytes.size());
    EXPECT_EQ(hash.finish(), tree_hash(bytes));
}

TEST(TreeHash, every_bit_counts) {
    Bytes bytes = random_bytes(4 * kSubtreeBytes);
    const Hash before = tree_hash(bytes);
    bytes[3 * kSubtreeBytes + 5] ^= std::byte{1};
    EXPECT_NE(tree_hash(bytes), before);
}

}  // namespace
}  // namespace Atoll::kernels
