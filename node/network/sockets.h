// ZeroMQ sockets set up the one way this house uses them. Included by .cc files only.
#pragma once

#include <string>
#include <zmq.hpp>

#include "base/bytes.h"
#include "base/result.h"
#include "gossip/identity.h"
#include "node/network/frame.h"

namespace Atoll::node {

// Chunks inside ZeroMQ for one connection and direction: enough to keep a link of 1 GB/s busy over 16 ms of
// scheduling.
inline constexpr int kBulkHighWater = 16;
inline constexpr int kControlHighWater = 256;

// Limits, heartbeats and time-outs that every socket has.
void set_common_options(zmq::socket_t& socket, int high_water, int linger_milliseconds);
// The two ends of CURVE. Whose key a client presents is decided by the server's gate.
void set_curve_server(zmq::socket_t& socket, const gossip::Identity& identity);
void set_curve_client(zmq::socket_t& socket, const gossip::Identity& identity,
                      const gossip::CurveKey& server);

// Sends a head and its data without waiting; `route` first if it is not empty (ROUTER). 0 or the errno of
// ZeroMQ; nothing was sent unless 0.
[[nodiscard]] int send_frame(zmq::socket_t& socket, const std::string& route, const FrameHead& head,
                             zmq::message_t data);
[[nodiscard]] zmq::message_t copied(ByteView bytes);
// A frame over shared bytes, not copied: they are let go when ZeroMQ's own thread has written them.
[[nodiscard]] zmq::message_t shared(SharedBytes bytes);

[[nodiscard]] inline ByteView view_of(const zmq::message_t& message) {
    return {static_cast<const std::byte*>(message.data()), message.size()};
}

}  // namespace Atoll::node
