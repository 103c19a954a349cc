#include "gossip/inbox.h"

#include <limits>
#include <utility>

namespace Atoll::gossip {

Inbox::Inbox(Host& host) : host_(host) { view_.members = {host.self()}; }

std::optional<Message> Inbox::next(double deadline) {
    if (!kept_.empty()) {
        Message message = std::move(kept_.front());
        kept_.erase(kept_.begin());
        return message;
    }
    std::optional<Message> message = host_.receive(Topic::mixing, deadline);
    if (message) {
        if (const auto* change = std::get_if<ViewChanged>(&message->body)) view_ = change->view;
    }
    return message;
}

bool Inbox::wait_for_members(std::size_t count, double deadline) {
    while (view_.size() < count) {
        std::optional<Message> message = host_.receive(Topic::mixing, deadline);
        if (!message) return false;
        if (const auto* change = std::get_if<ViewChanged>(&message->body)) {
            view_ = change->view;
        } else {
            kept_.push_back(std::move(*message));
        }
    }
    return true;
}

void Inbox::absorb() { (void)wait_for_members(std::numeric_limits<std::size_t>::max(), host_.now()); }

}  // namespace Atoll::gossip
