#include "node/network/zap.h"

#include <cstring>
#include <vector>
#include <zmq.hpp>

#include "base/bytes.h"
#include "base/log.h"

namespace Atoll::node {

namespace {
constexpr std::size_t kStrangersLoggedMax = 1024;
}

void Gate::allow(const CurveKey& key, std::string user) {
    const std::lock_guard lock(mutex_);
    users_[key] = std::move(user);
}

void Gate::forbid(const CurveKey& key) {
    const std::lock_guard lock(mutex_);
    users_.erase(key);
}

void Gate::ask_else(std::function<std::optional<std::string>(const CurveKey&)> lookup) {
    const std::lock_guard lock(mutex_);
    lookup_ = std::move(lookup);
}

std::optional<std::string> Gate::admit(const CurveKey& key, const std::string& address) {
    const std::lock_guard lock(mutex_);
    if (const auto it = users_.find(key); it != users_.end()) return it->second;
    if (lookup_) {
        if (auto user = lookup_(key)) return user;
    }
    ++refused_;
    if (strangers_.size() < kStrangersLoggedMax && strangers_.insert(key).second) {
        log::warn(
            "refused a connection from {}: CURVE key {} belongs to no member and no live invite of this run",
            address, to_hex(ByteView(key)));
    }
    return std::nullopt;
}

std::uint64_t Gate::refused() const {
    const std::lock_guard lock(mutex_);
    return refused_;
}

void answer_zap(void* socket, Gate& gate) {
    zmq::socket_ref zap(zmq::from_handle, socket);
    // version, request id, domain, address, routing id, mechanism, credentials (the CURVE key)
    std::vector<zmq::message_t> request;
    for (bool more = true; more;) {
        zmq::message_t part;
        if (!zap.recv(part, zmq::recv_flags::dontwait)) return;
        more = part.more();
        request.push_back(std::move(part));
    }
    std::optional<std::string> user;
    if (request.size() == 7 && request[5].to_string_view() == "CURVE" &&
        request[6].size() == sizeof(CurveKey)) {
        CurveKey key;
        std::memcpy(key.data(), request[6].data(), key.size());
        user = gate.admit(key, request[3].to_string());
    }
    const auto part = [&zap](std::string_view text, bool last) {
        zap.send(zmq::buffer(text), last ? zmq::send_flags::none : zmq::send_flags::sndmore);
    };
    part("1.0", false);
    part(request.size() > 1 ? request[1].to_string_view() : "", false);
    part(user ? "200" : "400", false);
    part(user ? "OK" : "not a member of this run", false);
    part(user ? *user : "", false);
    part("", true);
}

}  // namespace Atoll::node
