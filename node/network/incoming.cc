#include "node/network/incoming.h"

#include <fmt/core.h>

#include <cstring>

namespace Atoll::node {

// Forgets what will never be finished, and the peer's stalest payload if it has too many begun.
void Incoming::make_room(const Source& from, double now) {
    arrivals_.erase(from);
    std::erase_if(arrivals_,
                  [now](const auto& entry) { return now - entry.second->touched > kUnfinishedSeconds; });
    auto stalest = arrivals_.end();
    int count = 0;
    for (auto it = arrivals_.begin(); it != arrivals_.end(); ++it) {
        if (it->first.peer != from.peer) continue;
        ++count;
        if (stalest == arrivals_.end() || it->second->touched < stalest->second->touched) stalest = it;
    }
    if (count >= kUnfinishedPerPeerMax) arrivals_.erase(stalest);
}

std::shared_ptr<Arrival> Incoming::chunk(const Source& from, const FrameHead& head, ByteView data, double now,
                                         std::string& problem) {
    problem.clear();
    if (head.index == 0) {
        make_room(from, now);
        if (head.total == 0 || head.total > payload_bytes_max_) {
            problem = fmt::format("announced a payload of {} bytes; the limit is {}", head.total,
                                  payload_bytes_max_);
            return nullptr;
        }
        auto buffer = pool_.lend(static_cast<std::size_t>(head.total));
        if (!buffer.bytes) {
            problem =
                fmt::format("no memory left for a payload of {} bytes: too many wait to be read", head.total);
            return nullptr;
        }
        arrivals_[from] = std::make_shared<Arrival>(std::move(buffer), head.transfer);
    }
    const auto it = arrivals_.find(from);
    if (it == arrivals_.end()) return nullptr;
    Arrival& arrival = *it->second;
    if (head.transfer != arrival.transfer || head.index != arrival.next_index ||
        head.total != arrival.buffer.size || data.size() != chunk_size(head.total, head.index)) {
        problem = fmt::format("chunk {} of payload {} ({} bytes) does not follow chunk {} of payload {}",
                              head.index, head.transfer, data.size(), arrival.next_index, arrival.transfer);
        arrivals_.erase(it);
        return nullptr;
    }
    std::memcpy(arrival.buffer.bytes.get() + arrival.received, data.data(), data.size());
    arrival.received += data.size();
    ++arrival.next_index;
    arrival.touched = now;
    return it->second;
}

std::shared_ptr<Arrival> Incoming::end(const Source& from, const FrameHead& head, std::string& problem) {
    problem.clear();
    const auto it = arrivals_.find(from);
    if (it == arrivals_.end()) return nullptr;
    std::shared_ptr<Arrival> arrival = std::move(it->second);
    arrivals_.erase(it);
    if (head.transfer == arrival->transfer && arrival->received == arrival->buffer.size) return arrival;
    problem = fmt::format("payload {} ended after {} of {} bytes", arrival->transfer, arrival->received,
                          arrival->buffer.size);
    return nullptr;
}

}  // namespace Atoll::node
