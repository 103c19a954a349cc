#include "federation/federated/server.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "federation/algorithm/steps.h"
#include "gossip/limits.h"

namespace Atoll::federation {

namespace {

constexpr double kClockSkewSecondsMax = 300;   // certificates expire by the clock
constexpr double kPatienceFraction = 1.0 / 3;  // of averaging.deadline_seconds: then a model is sent again
constexpr double kPatienceMax = 8;             // times that, however often it was sent
constexpr double kFarewellSeconds = 20;  // of silence of those that have not the end's model: they are gone
constexpr double kStopCheckSeconds = 0.25;
constexpr double kLogSeconds = 10;

}  // namespace

FederatedServer::FederatedServer(Context& context, FederatedMember& member, Algorithm& algorithm)
    : context_(context),
      member_(member),
      algorithm_(algorithm),
      server_(member.serve()),
      update_(member.method->updates() ? member.parameters : 0),
      change_(member.method->tracks() ? member.parameters : 0) {}

Status FederatedServer::run() {
    const auto& federated = member_.config.algorithm.federated;
    ATOLL_ASSIGN(const auto law,
                 make_participation(federated.participation,
                                    {.seed = context_.seed,
                                     .count = static_cast<std::size_t>(federated.participation_count),
                                     .low = federated.participation_low,
                                     .high = federated.participation_high,
                                     .stay = federated.participation_stay,
                                     .trace = federated.participation_trace}));
    if (member_.round == 0) std::ranges::copy(context_.worker.parameters(), server_.core.model().begin());
    member_.client.core.settle(false);  // a push of our own that was decided is no longer pending
    if (federated.server_trains && server_.clients.find(context_.host.self()) == nullptr) {
        ClientRecord& own = server_.clients.add(context_.host.self());
        own.birth = member_.client.birth = 1;  // nobody asks for it: it does not go over the network
        member_.client.sequence = 1;
    }
    log::info("serving the run from round {}", member_.round);
    ATOLL_TRY(context_.observer.persist(algorithm_));  // restarted, it serves again
    ATOLL_TRY(wait_for_clients());
    while (member_.round < algorithm_.rounds()) ATOLL_TRY(one_round(*law));
    return farewell();
}

// Everybody in the view says hello first, and a server that was restarted sees the clients again that it
// knows; whoever has not come after averaging.deadline_seconds joins later.
Status FederatedServer::wait_for_clients() {
    const double until = context_.host.now() + member_.config.averaging.deadline_seconds;
    std::vector<std::string> ignored;
    const auto missing = [&] {
        const auto& members = context_.inbox.view().members;
        return std::ranges::any_of(
                   server_.clients.records(),
                   [&](const auto& client) { return !client->forgotten && !present(*client); }) ||
               std::ranges::any_of(members, [&](const gossip::PeerId& peer) {
                   return peer != context_.host.self() && server_.clients.find(peer) == nullptr;
               });
    };
    context_.inbox.absorb();
    while (missing() && context_.host.now() < until) {
        ATOLL_TRY(check_stop());
        const auto message = context_.inbox.next(std::min(until, context_.host.now() + kStopCheckSeconds));
        if (message) handle(*message, ignored);
    }
    return {};
}

Status FederatedServer::one_round(const Participation& law) {
    RoundReport report;
    context_.inbox.absorb();
    report.average = {.weight = 1, .members = context_.inbox.view().size()};
    forget_absent();
    model_ = {};
    ask(law.participants(member_.round, server_.clients.records().size()));
    ATOLL_TRY(train_too(report));
    ATOLL_TRY(collect(report));
    take_in(report);

    ++member_.round;
    member_.show_model(context_.worker, server_.core.model(), member_.round);
    ATOLL_TRY(check_finite(server_.core.model(), context_.worker.step()));
    ATOLL_TRY(context_.observer.persist(algorithm_));
    tell_decisions();
    report.round = member_.round;
    report.step = context_.worker.step();
    return context_.observer.on_round(report, algorithm_);
}

// Not asked is who does not answer, and whose push of an earlier round is still undecided: that comes first.
void FederatedServer::ask(const std::vector<std::size_t>& chosen) {
    waiting_.clear();
    for (const std::size_t number : chosen) {
        ClientRecord& client = *server_.clients.records()[number];
        if (!present(client) || client.silent || pushes_.contains(number)) continue;
        waiting_.insert(number);
        expect_download(client);
        if (!is_self(client)) tell(client, true);
    }
}

Status FederatedServer::train_too(RoundReport& report) {
    const ClientRecord* own = server_.clients.find(context_.host.self());
    if (own == nullptr || waiting_.erase(own->number) == 0) {
        report.train_loss = std::nan("");
        return {};
    }
    const std::size_t clients = server_.clients.counted();
    const std::vector<float> model(server_.core.model().begin(), server_.core.model().end());
    ATOLL_ASSIGN(EncodedVectors encoded,
                 member_.train(context_, model, server_.core.mean(clients), clients, member_.round, report));
    pushes_[own->number] = {{.round = member_.round,
                             .sequence = member_.client.sequence,
                             .tokens = report.tokens,
                             .parts = std::move(encoded.parts)},
                            std::move(encoded.payload)};
    return {};
}

Status FederatedServer::collect(RoundReport& report) {
    const double start = context_.host.now();
    const double until = start + member_.config.algorithm.federated.round_seconds;
    double log_time = start + kLogSeconds;
    while (true) {
        ATOLL_TRY(check_stop());
        // A round in which nobody trains would only turn the crank: it waits until somebody is there.
        const bool anybody = std::ranges::any_of(server_.clients.records(),
                                                 [&](const auto& client) { return present(*client); });
        const bool enough = waiting_.empty() && anybody;
        // Also a round that waits for nobody takes in what has arrived: there may be a hello among it.
        const double now = context_.host.now();
        const auto message = context_.inbox.next(enough ? now : std::min(until, now + kStopCheckSeconds));
        if (message) handle(*message, report.average.reasons);
        if ((enough && !message) || context_.host.now() >= until) break;
        if (context_.host.now() < log_time) continue;
        log::info("round {}: waiting for {} clients", member_.round, waiting_.size());
        log_time = context_.host.now() + kLogSeconds;
    }
    for (const std::uint64_t number : waiting_) {
        server_.clients.records()[number]->silent = true;
        report.average.reasons.push_back(fmt::format("{} pushed nothing for round {} within {:g} s",
                                                     server_.clients.records()[number]->peer.short_name(),
                                                     member_.round,
                                                     member_.config.algorithm.federated.round_seconds));
    }
    waiting_.clear();
    report.exchange_seconds = context_.host.now() - start;
    return {};
}

// Why a push does not count, in words; empty if it does. Its vectors are decoded then, and `size` is their
// norm.
std::string FederatedServer::judge(const Push& push, double& size) {
    const gossip::StarUpload& head = push.head;
    if (push.withdrawn) return "withdrawn";
    const bool late_is_fine = !member_.method->updates() || head.leaving;
    if (head.round > member_.round || (head.round < member_.round && !late_is_fine))
        return fmt::format("it is of round {}, this is round {}", head.round, member_.round);
    if (head.tokens == 0 && !head.leaving) return "it was trained on no data";
    std::vector<std::span<float>> vectors;
    if (!update_.empty()) vectors.emplace_back(update_);
    if (!change_.empty()) vectors.emplace_back(change_);
    const gossip::Codec& codec = head.leaving ? *member_.exact : context_.codec;
    if (const Status decoded = decode_vectors(codec, head.parts, push.payload.view(), vectors); !decoded) {
        return decoded.error().message;
    }
    size = std::hypot(norm(update_), norm(change_));
    return "";
}

// Absurd is what is very much larger than the model, than what the clients' vectors add up to, and than what
// most others push.
double FederatedServer::norm_bound(std::vector<double> sizes) {
    double usual = 1 + norm(server_.core.model()) + norm(server_.core.tracked_sum());
    if (sizes.size() > 1) {
        const auto median = sizes.begin() + static_cast<std::ptrdiff_t>((sizes.size() - 1) / 2);
        std::ranges::nth_element(sizes, median);
        usual = std::max(usual, *median);
    }
    return member_.config.averaging.norm_ratio_max * usual;
}

// Counts what it accepts, without a step. Returns the numbers of those that took part in this round.
std::set<std::uint64_t> FederatedServer::decide(std::vector<std::string>& reasons) {
    using gossip::ReceiptKind;
    std::vector<double> sizes;
    for (auto& [number, push] : pushes_) {
        push.objection = judge(push, push.size);
        if (push.objection.empty()) sizes.push_back(push.size);
    }
    const double bound = norm_bound(std::move(sizes));
    std::set<std::uint64_t> took_part;  // first: the weights depend on how many there are
    for (auto& [number, push] : pushes_) {
        ClientRecord& client = *server_.clients.records()[number];
        if (push.objection.empty() && push.size > bound && !is_self(client))
            push.objection = fmt::format("its norm of {:.3g} is beyond {:.3g}", push.size, bound);
        client.decided = push.head.sequence;
        client.verdict = push.withdrawn           ? ReceiptKind::withdrawn
                         : push.objection.empty() ? ReceiptKind::accepted
                                                  : ReceiptKind::refused;
        if (client.verdict == ReceiptKind::refused) {
            reasons.push_back(
                fmt::format("refused the push of {}: {}", client.peer.short_name(), push.objection));
            log::warn("round {}: {}", member_.round, reasons.back());
        }
        const bool now = push.head.round == member_.round && !push.head.leaving;
        if (client.verdict == ReceiptKind::accepted && now) took_part.insert(number);
    }
    server_.core.begin_round();
    const std::size_t clients = server_.clients.counted();
    for (const auto& [number, push] : pushes_) {
        if (push.objection.empty())
            take_in_one(*server_.clients.records()[number], push, took_part.size(), clients);
    }
    if (const ClientRecord* own = server_.clients.find(context_.host.self()); own != nullptr)
        member_.client.core.settle(own->verdict == gossip::ReceiptKind::accepted);
    return took_part;
}

void FederatedServer::take_in(RoundReport& report) {
    const std::set<std::uint64_t> took_part = decide(report.average.reasons);
    const double rate = member_.rate((member_.round + 1) * member_.local_steps() - 1);
    const std::vector<float> before(server_.core.model().begin(), server_.core.model().end());
    server_.core.end_round(took_part.size(), server_.clients.counted(), rate);
    report.update_norm = distance(before, server_.core.model());
    report.average.complete = report.average.reasons.empty();
    report.average.weight = static_cast<double>(took_part.size()) /
                            static_cast<double>(std::max<std::size_t>(server_.clients.counted(), 1));
    for (const auto& client : server_.clients.records()) {
        attend(client->attendance, took_part.contains(client->number),
               static_cast<double>(member_.config.algorithm.federated.absence_rounds_max));
    }
}

void FederatedServer::take_in_one(ClientRecord& client, const Push& push, std::size_t participants,
                                  std::size_t clients) {
    double size = 0;
    (void)judge(push, size);  // decodes it
    const double weight =
        participants > 0 ? member_.method->weight(client.attendance, participants, clients) : 0;
    server_.core.absorb(update_, change_, weight, client.memory);
    client.last_round = member_.round;
    if (push.head.leaving) client.forgotten = true;
}

void FederatedServer::tell_decisions() {
    for (const auto& [number, push] : pushes_) {
        const ClientRecord& client = *server_.clients.records()[number];
        if (is_self(client)) continue;
        // One that is lost is asked for again.
        const Status sent = context_.host.send(
            client.peer,
            gossip::MixReceipt{.sequence = client.decided, .kind = client.verdict, .reason = push.objection});
        if (sent.ok()) continue;
        log::debug("{} was not told: {}", client.peer.short_name(), sent.error().message);
    }
    pushes_.clear();
}

// Those that have been away for too long take no part in the sum any more.
void FederatedServer::forget_absent() {
    const auto expiry = static_cast<std::uint64_t>(member_.config.algorithm.federated.expiry_rounds);
    if (expiry == 0) return;
    for (const auto& client : server_.clients.records()) {
        if (client->forgotten || is_self(*client) || pushes_.contains(client->number)) continue;
        if (present(*client) || member_.round <= client->last_round + expiry) continue;
        server_.core.forget(client->memory);
        std::ranges::fill(client->memory, 0.0F);
        client->forgotten = true;
        log::info("{} has been away since round {}: it is forgotten", client->peer.short_name(),
                  client->last_round);
    }
}

// A client that waits for the model says hello every few seconds; one whose word that it has it was lost is
// silent.
Status FederatedServer::farewell() {
    const double silence = std::max(kFarewellSeconds, member_.config.averaging.deadline_seconds);
    const double until =
        context_.host.now() + std::max(silence, member_.config.algorithm.federated.round_seconds);
    double heard = context_.host.now();
    std::vector<std::string> ignored;
    model_ = {};
    waiting_.clear();
    for (const auto& client : server_.clients.records()) {
        if (is_self(*client) || !present(*client)) continue;
        expect_download(*client);
        tell(*client, true);
    }
    const auto missing = [&] {
        return std::ranges::any_of(server_.clients.records(), [&](const auto& client) {
            return !is_self(*client) && present(*client) && !done_.contains(client->peer);
        });
    };
    const auto end = [&] { return std::min(until, heard + silence); };
    while (missing() && context_.host.now() < end() && check_stop().ok()) {
        const auto message = context_.inbox.next(std::min(end(), context_.host.now() + kStopCheckSeconds));
        if (message) {
            const bool waits = message->sender != context_.host.self() && !done_.contains(message->sender);
            if (waits) heard = context_.host.now();
            handle(*message, ignored);
        }
        if (pushes_.empty()) continue;
        // Too late for the model; but before it is decided the client takes no model.
        (void)decide(ignored);
        ATOLL_TRY(context_.observer.persist(algorithm_));
        for (const auto& [number, push] : pushes_) expect_download(*server_.clients.records()[number]);
        tell_decisions();
    }
    return {};
}

// ---- messages ----

void FederatedServer::handle(const gossip::Message& message, std::vector<std::string>& reasons) {
    const gossip::PeerId& from = message.sender;
    if (const auto* hello = std::get_if<gossip::StarHello>(&message.body)) {
        on_hello(from, *hello);
    } else if (const auto* push = std::get_if<gossip::StarUpload>(&message.body)) {
        on_push(from, *push, message.payload);
    } else if (const auto* withdraw = std::get_if<gossip::MixWithdraw>(&message.body)) {
        on_withdraw(from, withdraw->sequence);
    } else if (const auto* receipt = std::get_if<gossip::MixReceipt>(&message.body)) {
        if (receipt->sequence == algorithm_.rounds()) done_.insert(from);
    } else if (std::holds_alternative<gossip::ViewChanged>(message.body)) {
        std::erase_if(waiting_, [&](std::uint64_t number) {
            const ClientRecord& client = *server_.clients.records()[number];
            if (present(client)) return false;
            reasons.push_back(fmt::format("{} left during round {}: {}", client.peer.short_name(),
                                          member_.round, context_.inbox.view().reason));
            return true;
        });
    }
}

void FederatedServer::on_hello(const gossip::PeerId& from, const gossip::StarHello& hello) {
    ClientRecord* client = server_.clients.find(from);
    const bool admitted = admit(client, from, hello);
    if (client != nullptr) client->silent = !admitted;
    if (!admitted) return;
    const bool over = member_.round >= algorithm_.rounds();
    tell(*client, over || waiting_.contains(client->number));
}

// False: it was refused, or what it said is out of date.
bool FederatedServer::admit(ClientRecord*& client, const gossip::PeerId& from,
                            const gossip::StarHello& hello) {
    using gossip::ReceiptKind;
    if (hello.parameters != member_.parameters) {
        refuse(
            from, ReceiptKind::refused,
            fmt::format("its model has {} values, the run's has {}", hello.parameters, member_.parameters));
        return false;
    }
    if (const double skew = hello.unix_time - context_.host.unix_time();
        std::abs(skew) > kClockSkewSecondsMax) {
        refuse(from, ReceiptKind::refused,
               fmt::format("its clock is {:.0f} s {} the server's: set it", std::abs(skew),
                           skew > 0 ? "ahead of" : "behind"));
        return false;
    }
    if (client == nullptr) {
        if (server_.clients.records().size() >= gossip::kMembersMax) {
            refuse(from, ReceiptKind::refused, "there is no room for another client");
            return false;
        }
        client = &server_.clients.add(from);
        client->last_round = member_.round;
        client->birth = hello.birth;
        log::info("{} is client {}", from.short_name(), client->number);
        return true;
    }
    if (hello.birth < client->birth) return false;  // it has been reborn since
    if (hello.birth == client->birth) {
        if (client->forgotten) {
            refuse(from, ReceiptKind::withdrawn, "it left, or was away for too long");
            return false;
        }
        return true;
    }
    // It has lost its state, or was told to begin anew: what was counted of it is taken back.
    const bool counted = member_.method->tracks() && client->decided > client->birth && !client->forgotten;
    if (counted && client->memory.empty()) {
        refuse(from, ReceiptKind::refused,
               "it has come back without its state, and the server keeps no copy that it could take back "
               "(algorithm.remember_clients = false)");
        return false;
    }
    if (!client->forgotten) server_.core.forget(client->memory);
    std::ranges::fill(client->memory, 0.0F);
    pushes_.erase(client->number);
    client->birth = hello.birth;
    client->received = client->decided = 0;
    client->forgotten = false;
    client->last_round = member_.round;
    log::info("{} begins anew as client {}", from.short_name(), client->number);
    return true;
}

// A client pushes nothing before its last push is decided, so that its sequence numbers have no gaps. Any
// other number is of a new state, whose hello has not come: what was counted of the old one must go first.
bool FederatedServer::is_next(const ClientRecord& client, std::uint64_t sequence) {
    return sequence == std::max(client.decided, client.birth) + 1;
}

void FederatedServer::on_push(const gossip::PeerId& from, const gossip::StarUpload& head,
                              const SharedBytes& payload) {
    ClientRecord* client = server_.clients.find(from);
    if (client == nullptr || client->forgotten || head.sequence <= client->birth) return;
    if (head.sequence <= client->decided) return tell(*client, false);
    if (head.sequence <= client->received) return;  // it is here, or was withdrawn
    if (!is_next(*client, head.sequence)) return;
    client->received = head.sequence;
    pushes_[client->number] = {head, payload};
    waiting_.erase(client->number);
}

void FederatedServer::on_withdraw(const gossip::PeerId& from, std::uint64_t sequence) {
    ClientRecord* client = server_.clients.find(from);
    if (client == nullptr || client->forgotten || sequence <= client->birth) return;
    if (sequence <= client->decided) return tell(*client, false);
    if (sequence <= client->received) return;  // it is here, and will count
    if (!is_next(*client, sequence)) return;
    client->received = sequence;
    pushes_[client->number] = {.head = {.sequence = sequence}, .payload = {}, .withdrawn = true};
    waiting_.erase(client->number);
}

// Where the client stands; with the model if it is to train, or at the end.
void FederatedServer::tell(ClientRecord& client, bool with_model) {
    gossip::StarDownload download{.round = member_.round,
                                  .received = client.received,
                                  .decided = client.decided,
                                  .verdict = client.verdict,
                                  .members = server_.clients.counted()};
    if (with_model && context_.host.now() >= client.tell_again) {
        if (model_.parts.empty()) {
            std::vector<std::span<const float>> vectors = {server_.core.model()};
            const std::span<const float> mean = server_.core.mean(server_.clients.counted());
            if (!mean.empty()) vectors.push_back(mean);
            model_ = encode_exactly(vectors);
        }
        download.parts = model_.parts;
        // One that is still on its way is not sent again: each time the wait is twice as long, up to a bound.
        client.tell_again = context_.host.now() + client.patience;
        const double patience = kPatienceFraction * member_.config.averaging.deadline_seconds;
        client.patience = std::min(2 * client.patience, kPatienceMax * patience);
    }
    // One that is lost is asked for again.
    const SharedBytes payload = download.parts.empty() ? SharedBytes() : model_.payload;
    (void)context_.host.send(client.peer, std::move(download), payload);
}

// The model that it is told next is another one.
void FederatedServer::expect_download(ClientRecord& client) const {
    client.tell_again = 0;
    client.patience = kPatienceFraction * member_.config.averaging.deadline_seconds;
}

void FederatedServer::refuse(const gossip::PeerId& peer, gossip::ReceiptKind kind, std::string reason) {
    log::warn("client {}: {}", peer.short_name(), reason);
    (void)context_.host.send(peer,
                             gossip::MixReceipt{.sequence = 0, .kind = kind, .reason = std::move(reason)});
}

bool FederatedServer::present(const ClientRecord& client) const {
    return !client.forgotten && context_.inbox.view().index_of(client.peer).has_value();
}

bool FederatedServer::is_self(const ClientRecord& client) const {
    return client.peer == context_.host.self();
}

Status FederatedServer::check_stop() const {
    if (!context_.stop.requested() && !context_.host.stopping()) return {};
    return Error{ErrorCode::interrupted, fmt::format("stopped while serving round {}", member_.round)};
}

}  // namespace Atoll::federation
