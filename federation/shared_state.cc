#include "federation/shared_state.h"

#include <fmt/core.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "base/log.h"

namespace Atoll::federation {

namespace {

static_assert(std::endian::native == std::endian::little, "the encoding is a copy of memory");

constexpr std::string_view kMagic = "ATOLLST1";
constexpr std::size_t kHeaderBytes = 64;

std::vector<StateVector> shared_vectors(Algorithm& algorithm) {
    std::vector<StateVector> vectors = algorithm.state();
    std::erase_if(vectors, [](const StateVector& vector) { return !vector.shared; });
    return vectors;
}

template <typename T>
T read(ByteView bytes, std::size_t offset) {
    T value{};
    std::memcpy(&value, bytes.data() + offset, sizeof value);
    return value;
}

Error corrupt(const std::string& what) { return {ErrorCode::corrupt, "state of a peer: " + what}; }

// Values start at a multiple of 4 bytes, but the buffer that holds the bytes promises no alignment.
bool finite(ByteView bytes) {
    for (std::size_t offset = 0; offset < bytes.size(); offset += sizeof(float)) {
        if (!std::isfinite(read<float>(bytes, offset))) return false;
    }
    return true;
}

}  // namespace

std::uint64_t shared_state_bytes(Algorithm& algorithm) {
    std::uint64_t bytes = kHeaderBytes;
    for (const auto& vector : shared_vectors(algorithm)) bytes += vector.values.size_bytes();
    return bytes;
}

SharedBytes encode_shared_state(Algorithm& algorithm) {
    const std::vector<StateVector> vectors = shared_vectors(algorithm);
    Bytes bytes;
    bytes.reserve(shared_state_bytes(algorithm));
    bytes.resize(kHeaderBytes);
    const std::uint64_t round = algorithm.round();
    const auto count = static_cast<std::uint32_t>(vectors.size());
    std::memcpy(bytes.data(), kMagic.data(), kMagic.size());
    std::memcpy(bytes.data() + 8, &round, sizeof round);
    std::memcpy(bytes.data() + 16, &count, sizeof count);
    for (const auto& vector : vectors) {
        const ByteView values = std::as_bytes(vector.values);
        bytes.insert(bytes.end(), values.begin(), values.end());
    }
    return SharedBytes(std::move(bytes));
}

Status adopt_shared_state(ByteView bytes, std::uint64_t round, Algorithm& algorithm, Worker& worker) {
    const std::vector<StateVector> vectors = shared_vectors(algorithm);
    if (bytes.size() != shared_state_bytes(algorithm)) {
        return corrupt(fmt::format("{} bytes; expected {}", bytes.size(), shared_state_bytes(algorithm)));
    }
    if (std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) {
        return corrupt("unknown format; expected ATOLLST1: update the older of the two programs");
    }
    if (read<std::uint32_t>(bytes, 16) != vectors.size()) {
        return corrupt(
            fmt::format("{} vectors; expected {}", read<std::uint32_t>(bytes, 16), vectors.size()));
    }
    if (read<std::uint64_t>(bytes, 8) != round) {
        return corrupt(
            fmt::format("it is of round {}; announced was {}", read<std::uint64_t>(bytes, 8), round));
    }
    if (!finite(bytes.subspan(kHeaderBytes))) return corrupt("it has values that are not finite");
    std::size_t offset = kHeaderBytes;
    for (const auto& vector : vectors) {
        std::memcpy(vector.values.data(), bytes.data() + offset, vector.values.size_bytes());
        offset += vector.values.size_bytes();
    }
    algorithm.set_round(round);
    algorithm.adopted(worker);
    return {};
}

void publish_state(gossip::Host& host, Algorithm& algorithm) {
    const Status sent =
        host.send(host.self(), gossip::StatePublished{algorithm.round()}, encode_shared_state(algorithm));
    if (!sent)
        log::warn("peers cannot fetch the state of round {}: {}", algorithm.round(), sent.error().message);
}

}  // namespace Atoll::federation
