#include "gossip/identity.h"

#include <sodium.h>

#include <algorithm>

#include "base/check.h"
#include "base/hash.h"

namespace Atoll::gossip {

namespace {
const unsigned char* raw(const std::byte* p) { return reinterpret_cast<const unsigned char*>(p); }
unsigned char* raw(std::byte* p) { return reinterpret_cast<unsigned char*>(p); }

// context, a zero byte (no context contains one), bytes.
Bytes signed_bytes(std::string_view context, ByteView bytes) {
    Bytes joined;
    joined.reserve(context.size() + 1 + bytes.size());
    const ByteView prefix = as_byte_view(context);
    joined.insert(joined.end(), prefix.begin(), prefix.end());
    joined.push_back(std::byte{0});
    joined.insert(joined.end(), bytes.begin(), bytes.end());
    return joined;
}
}  // namespace

static_assert(crypto_sign_SEEDBYTES == Identity::kSeedBytes);
static_assert(crypto_sign_PUBLICKEYBYTES == sizeof(PeerId));
static_assert(crypto_sign_BYTES == sizeof(Signature));
static_assert(crypto_scalarmult_curve25519_BYTES == sizeof(CurveKey));

Identity::Identity(SecretBytes secret) : secret_(std::move(secret)) {
    std::ranges::copy(secret_.view().last(sizeof(PeerId)), id_.key.begin());
}

Identity Identity::generate() {
    SecretBytes seed(kSeedBytes);
    randombytes_buf(seed.bytes().data(), seed.size());
    return from_seed(seed.view());
}

Identity Identity::from_seed(ByteView seed) {
    ATOLL_CHECK(seed.size() == kSeedBytes);
    SecretBytes secret(crypto_sign_SECRETKEYBYTES);
    PeerId id;
    crypto_sign_seed_keypair(raw(id.key.data()), raw(secret.bytes().data()), raw(seed.data()));
    return Identity(std::move(secret));
}

Signature Identity::sign(std::string_view context, ByteView bytes) const {
    const Bytes joined = signed_bytes(context, bytes);
    Signature signature;
    crypto_sign_detached(raw(signature.data()), nullptr, raw(joined.data()), joined.size(),
                         raw(secret_.view().data()));
    return signature;
}

CurveKey Identity::curve_public_key() const {
    Result<CurveKey> key = gossip::curve_public_key(id_);
    ATOLL_CHECK(key.ok());
    return *key;
}

SecretBytes Identity::curve_secret_key() const {
    SecretBytes secret(crypto_scalarmult_curve25519_BYTES);
    const int converted =
        crypto_sign_ed25519_sk_to_curve25519(raw(secret.bytes().data()), raw(secret_.view().data()));
    ATOLL_CHECK(converted == 0);
    return secret;
}

bool verify(const PeerId& signer, std::string_view context, ByteView bytes, const Signature& signature) {
    initialise_crypto();
    const Bytes joined = signed_bytes(context, bytes);
    return crypto_sign_verify_detached(raw(signature.data()), raw(joined.data()), joined.size(),
                                       raw(signer.key.data())) == 0;
}

Result<CurveKey> curve_public_key(const PeerId& peer) {
    initialise_crypto();
    CurveKey key;
    if (crypto_sign_ed25519_pk_to_curve25519(raw(key.data()), raw(peer.key.data())) != 0) {
        return Error{ErrorCode::refused, "peer id " + peer.text() + " is not an Ed25519 public key"};
    }
    return key;
}

std::string fingerprint(const PeerId& peer) {
    static constexpr std::string_view kAlphabet = "0123456789abcdefghjkmnpqrstvwxyz";
    static constexpr std::size_t kCharacters =
        16;  // of 5 bits: 80 bits, 2^80 work to find a key that looks alike
    const Hash hash = blake2b(peer.key);
    std::string text;
    std::uint32_t bits = 0;
    unsigned held = 0;
    for (std::size_t i = 0, next = 0; i < kCharacters; ++i) {
        if (held < 5) {
            bits = (bits << 8U) | std::to_integer<std::uint32_t>(hash[next++]);
            held += 8;
        }
        if (i > 0 && i % 4 == 0) text += '-';
        held -= 5;
        text += kAlphabet[(bits >> held) & 31U];
    }
    return text;
}

Result<PeerId> peer_id_from_text(std::string_view text) {
    Result<Bytes> bytes = from_hex(text);
    if (!bytes.ok() || bytes->size() != sizeof(PeerId)) {
        return Error{ErrorCode::invalid,
                     "'" + std::string(text.substr(0, 80)) +
                         "' is not a peer id: expected 64 hexadecimal digits (atoll id prints yours)"};
    }
    PeerId peer;
    std::ranges::copy(*bytes, peer.key.begin());
    return peer;
}

}  // namespace Atoll::gossip
