#include "node/join.h"

#include <fmt/core.h>

#include <algorithm>

#include "federation/run_config.h"
#include "node/duration.h"
#include "node/host_network.h"

namespace Atoll::node {

namespace {

constexpr double kKnockSeconds = 2;  // between two requests to the same contact
constexpr double kLookSeconds = 0.1;

Result<Joined> accept(const gossip::JoinReply& reply, const gossip::Invite& invite,
                      const gossip::Certificate& certificate) {
    if (!reply.accepted)
        return Error{ErrorCode::refused, "the run does not let this node in: " + reply.reason};
    ATOLL_ASSIGN(const federation::RunConfig config, federation::run_config_from_text(reply.run_config));
    if (federation::run_id(config) != invite.grant.run) {
        return Error{ErrorCode::corrupt,
                     "the configuration that the member sent is not the one of the invite (its hash "
                     "differs): other version "
                     "of the program, or not to be trusted"};
    }
    return Joined{certificate, reply.run_config, reply.records};
}

}  // namespace

Result<Joined> join_run(const gossip::Invite& invite, const gossip::Identity& identity, const Home& home,
                        const std::string& name, double seconds, const StopToken& stop) {
    ATOLL_ASSIGN(const std::uint64_t incarnation, home.next_incarnation(invite.grant.run, unix_seconds()));
    ATOLL_TRY(gossip::check_not_expired(invite.grant, static_cast<double>(unix_seconds())));
    const gossip::Certificate certificate = gossip::certify(invite.grant, invite.token, identity.id());
    const gossip::JoinRequest request{
        gossip::make_member_record(identity, certificate, name, "", incarnation).encode()};
    ATOLL_ASSIGN(const auto host, HostNetwork::start(identity, {.run = invite.grant.run,
                                                                .incarnation = incarnation,
                                                                .transport = {.dial_as = &invite.token}}));
    std::string tried;
    std::vector<gossip::PeerId> contacts;
    for (const gossip::Contact& contact : invite.contacts) {
        host->connect(contact.peer, contact.address);
        tried += (tried.empty() ? "" : ", ") + contact.address;
        if (std::find(contacts.begin(), contacts.end(), contact.peer) == contacts.end())
            contacts.push_back(contact.peer);
    }
    const double deadline = host->now() + seconds;
    double next_knock = 0;
    bool answered = false;
    while (host->now() < deadline) {
        if (stop.requested()) return Error{ErrorCode::interrupted, "stopped while joining"};
        if (host->now() >= next_knock) {
            bool sent = false;
            for (const gossip::PeerId& contact : contacts)
                sent = host->send(contact, request, {}).ok() || sent;
            answered = answered || sent;
            next_knock = host->now() + (sent ? kKnockSeconds : kLookSeconds);
        }
        const auto message = host->receive(gossip::Topic::join, host->now() + kLookSeconds);
        if (!message) continue;
        if (const auto* reply = std::get_if<gossip::JoinReply>(&message->body))
            return accept(*reply, invite, certificate);
    }
    if (answered) {
        return Error{ErrorCode::unavailable,
                     fmt::format("a member of the run at {} did not answer in {:.0f} s", tried, seconds)};
    }
    return Error{ErrorCode::unavailable, fmt::format("no connection to {} in {:.0f} s: the node there is not "
                                                     "running or not reachable from here, or the "
                                                     "invite was not issued on that machine",
                                                     tried, seconds)};
}

}  // namespace Atoll::node
