#include "node/network/sockets.h"

#include <memory>

namespace Atoll::node {

namespace {

constexpr int kHeartbeatMilliseconds = 2000;
constexpr int kHeartbeatTimeoutMilliseconds = 15000;  // a busy two-core machine may not answer for seconds
constexpr int kHandshakeMilliseconds = 5000;
constexpr int kReconnectMilliseconds = 100;
constexpr int kReconnectMillisecondsMax = 5000;
constexpr int kBacklog = 256;
constexpr std::int64_t kPartBytesMax = static_cast<std::int64_t>(kChunkBytes) + 4096;  // CURVE adds 33 bytes

zmq::const_buffer raw(ByteView bytes) { return zmq::buffer(bytes.data(), bytes.size()); }

}  // namespace

void set_common_options(zmq::socket_t& socket, int high_water, int linger_milliseconds) {
    namespace option = zmq::sockopt;
    socket.set(option::sndhwm, high_water);
    socket.set(option::rcvhwm, high_water);
    socket.set(option::linger, linger_milliseconds);
    socket.set(option::maxmsgsize, kPartBytesMax);
    socket.set(option::immediate, true);
    socket.set(option::handshake_ivl, kHandshakeMilliseconds);
    socket.set(option::heartbeat_ivl, kHeartbeatMilliseconds);
    socket.set(option::heartbeat_timeout, kHeartbeatTimeoutMilliseconds);
    socket.set(option::heartbeat_ttl, kHeartbeatTimeoutMilliseconds);
    socket.set(option::reconnect_ivl, kReconnectMilliseconds);
    socket.set(option::reconnect_ivl_max, kReconnectMillisecondsMax);
    socket.set(option::backlog, kBacklog);
    socket.set(option::ipv6, true);
}

void set_curve_server(zmq::socket_t& socket, const gossip::Identity& identity) {
    socket.set(zmq::sockopt::zap_domain, "atoll");
    socket.set(zmq::sockopt::curve_server, true);
    const gossip::SecretBytes secret = identity.curve_secret_key();
    socket.set(zmq::sockopt::curve_secretkey, raw(secret.view()));
}

void set_curve_client(zmq::socket_t& socket, const gossip::Identity& identity,
                      const gossip::CurveKey& server) {
    const gossip::SecretBytes secret = identity.curve_secret_key();
    socket.set(zmq::sockopt::curve_secretkey, raw(secret.view()));
    const gossip::CurveKey own = identity.curve_public_key();
    socket.set(zmq::sockopt::curve_publickey, raw(own));
    socket.set(zmq::sockopt::curve_serverkey, raw(server));
}

int send_frame(zmq::socket_t& socket, const std::string& route, const FrameHead& head, zmq::message_t data) {
    constexpr auto kMore = zmq::send_flags::dontwait | zmq::send_flags::sndmore;
    try {
        if (!route.empty() && !socket.send(zmq::buffer(route), kMore)) return EAGAIN;
        zmq::message_t first(kFrameHeadBytes);
        write_frame_head(head, static_cast<std::byte*>(first.data()));
        if (!socket.send(first, kMore)) return EAGAIN;
        return socket.send(data, zmq::send_flags::dontwait) ? 0 : EAGAIN;
    } catch (const zmq::error_t& error) {
        return error.num();
    }
}

zmq::message_t copied(ByteView bytes) { return {bytes.data(), bytes.size()}; }

zmq::message_t shared(SharedBytes bytes) {
    // ZeroMQ's interface takes a mutable pointer and never writes through it.
    void* data = const_cast<std::byte*>(bytes.data());
    const std::size_t size = bytes.size();
    auto owner = std::make_unique<SharedBytes>(std::move(bytes));
    zmq::message_t message(
        data, size, [](void*, void* hint) { delete static_cast<SharedBytes*>(hint); }, owner.get());
    owner.release();
    return message;
}

}  // namespace Atoll::node
