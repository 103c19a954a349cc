#include "gossip/run_membership.h"

#include "base/log.h"

namespace Atoll::gossip {

void carry_out(Host& host, Orders orders) {
    for (const std::string& note : orders.notes) log::info("membership: {}", note);
    for (const Contact& contact : orders.connect) host.connect(contact.peer, contact.address);
    for (const PeerId& peer : orders.disconnect) host.disconnect(peer);
    for (Orders::Outgoing& message : orders.messages) {
        const PeerId to = message.to;
        if (const Status sent = host.send(to, std::move(message.body)); !sent.ok()) {
            log::debug("membership: nothing sent to {}: {}", to.short_name(), sent.error().message);
        }
    }
    if (orders.view) {
        log::info("view {}: {} members ({})", orders.view->epoch, orders.view->size(), orders.view->reason);
        if (const Status sent = host.send(host.self(), ViewChanged{std::move(*orders.view)}); !sent.ok()) {
            log::warn("membership: the view did not reach the algorithm: {}", sent.error().message);
        }
    }
}

void run_membership(Host& host, Membership& membership,
                    const std::function<void(const Membership&)>& observe) {
    const auto instant = [&] { return Instant{host.now(), host.unix_time()}; };
    while (!host.stopping()) {
        if (const std::optional<Message> message = host.receive(Topic::membership, membership.next_tick())) {
            carry_out(host, membership.handle(*message, instant()));
        }
        carry_out(host, membership.tick(instant()));
        if (observe) observe(membership);
    }
    carry_out(host, membership.leave("shutting down"));
}

}  // namespace Atoll::gossip
