// The gate: ZeroMQ asks it about the CURVE key of every connection (ZAP, RFC 27) before a byte of the peer is
// parsed. Keys it does not know are refused at the handshake.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "gossip/identity.h"

namespace Atoll::node {

using gossip::CurveKey;

// Thread-safe.
class Gate {
  public:
    // Lets connections with this key in; `user` is what every message from it is marked with (ZeroMQ's
    // User-Id).
    void allow(const CurveKey& key, std::string user);
    void forbid(const CurveKey& key);
    // Asked about keys that are not on the list: the invites that are alive now (their file may have
    // changed).
    void ask_else(std::function<std::optional<std::string>(const CurveKey&)> lookup);

    // The user behind a key, nothing for a stranger. A stranger is logged the first time.
    [[nodiscard]] std::optional<std::string> admit(const CurveKey& key, const std::string& address);
    [[nodiscard]] std::uint64_t refused() const;

  private:
    mutable std::mutex mutex_;  // guards all below
    std::map<CurveKey, std::string> users_;
    std::function<std::optional<std::string>(const CurveKey&)> lookup_;
    std::set<CurveKey> strangers_;  // already logged; bounded
    std::uint64_t refused_ = 0;
};

// Answers one ZAP request waiting on `socket` (a ZeroMQ REP socket bound to kZapAddress before anything else
// is bound).
inline constexpr const char* kZapAddress = "inproc://zeromq.zap.01";
void answer_zap(void* socket, Gate& gate);

}  // namespace Atoll::node
