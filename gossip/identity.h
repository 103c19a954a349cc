// Identity: a node's (or run owner's, or invite token's) Ed25519 key pair: proves who says what, and, in its
// X25519 form, who is at the other end of a CURVE connection.
#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "gossip/peer_id.h"
#include "gossip/secret_bytes.h"

namespace Atoll::gossip {

using Signature = std::array<std::byte, 64>;
using CurveKey = std::array<std::byte, 32>;  // X25519, raw as ZeroMQ takes it

// What a signature is for: signed along with the bytes, so that one made for one purpose never passes for
// another.
namespace context {
inline constexpr std::string_view kGrant = "atoll grant 1";
inline constexpr std::string_view kCertificate = "atoll certificate 1";
inline constexpr std::string_view kMemberRecord = "atoll member record 1";
inline constexpr std::string_view kMessage = "atoll message 1";
}  // namespace context

class Identity {
  public:
    static constexpr std::size_t kSeedBytes = 32;

    [[nodiscard]] static Identity generate();
    // Precondition: seed.size() == kSeedBytes.
    [[nodiscard]] static Identity from_seed(ByteView seed);

    // A key file: comment lines and one line of text with a checksum (docs/reference/identity.md). Errors:
    // not_found; refused if anyone but its owner may read it (the message gives the chmod); corrupt.
    [[nodiscard]] static Result<Identity> load(const std::filesystem::path& path);
    // Creates the file with mode 0600, complete or not at all. Errors: refused if it exists (a key is never
    // overwritten), failed. `what` goes into its first comment line: "node key", "run owner key".
    [[nodiscard]] Status save(const std::filesystem::path& path, std::string_view what = "node key") const;

    [[nodiscard]] const PeerId& id() const { return id_; }
    // Deterministic (Ed25519). Thread-safe.
    [[nodiscard]] Signature sign(std::string_view context, ByteView bytes) const;
    [[nodiscard]] ByteView seed() const { return secret_.view().first(kSeedBytes); }
    [[nodiscard]] CurveKey curve_public_key() const;
    [[nodiscard]] SecretBytes curve_secret_key() const;

  private:
    explicit Identity(SecretBytes secret);
    SecretBytes secret_;  // libsodium's form: seed, then public key
    PeerId id_;
};

[[nodiscard]] bool verify(const PeerId& signer, std::string_view context, ByteView bytes,
                          const Signature& signature);

// The key ZeroMQ knows a peer by. Errors: refused if the id is not a point of the curve's prime-order group.
[[nodiscard]] Result<CurveKey> curve_public_key(const PeerId& peer);

// For people to compare, by phone: "k3qf-9z2m-x0ab-7trw", 80 bits of the key's BLAKE2b in Crockford's
// base 32.
[[nodiscard]] std::string fingerprint(const PeerId& peer);
// Errors: invalid unless it is the 64 hexadecimal digits of PeerId::text().
[[nodiscard]] Result<PeerId> peer_id_from_text(std::string_view text);

}  // namespace Atoll::gossip
