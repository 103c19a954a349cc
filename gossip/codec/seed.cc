#include "gossip/codec/seed.h"

#include <cstring>

#include "base/rng.h"

namespace Atoll::gossip {

CodecSeed codec_seed(std::uint64_t run_seed, const PeerId& self, std::uint64_t round, std::uint32_t stage,
                     std::size_t part) {
    std::uint64_t shared = mix64(run_seed);
    for (const std::uint64_t word : {round, std::uint64_t{stage}, std::uint64_t{part}}) {
        shared = mix64(shared ^ word);
    }
    std::uint64_t member = 0;
    std::memcpy(&member, self.key.data(), sizeof member);
    return {.shared = shared, .own = mix64(shared ^ mix64(member))};
}

}  // namespace Atoll::gossip
