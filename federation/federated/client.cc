#include "federation/federated/client.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/log.h"
#include "federation/algorithm/steps.h"

namespace Atoll::federation {

namespace {

constexpr double kHelloSeconds = 2;  // between two, while nothing is heard
constexpr double kStopCheckSeconds = 0.25;
constexpr double kPatienceFraction = 1.0 / 3;  // of averaging.deadline_seconds: then a push is sent again

}  // namespace

Status FederatedClient::run() {
    if (member_.client.birth == 0) begin_life();
    model_.resize(member_.parameters);
    mean_.resize(member_.method->downloads_mean() ? member_.parameters : 0);
    gossip::Host& host = context_.host;
    heard_ = host.now();
    while (!finished_) {
        if (context_.stop.requested() || host.stopping())
            return Error{ErrorCode::interrupted, "stopped while waiting for the server"};
        if (host.now() >= heard_ + member_.config.algorithm.federated.server_wait_seconds) {
            return Error{ErrorCode::unavailable,
                         fmt::format("nothing was heard of the server{} for {:g} s "
                                     "(algorithm.server_wait_seconds): is its node running?",
                                     server_ ? " " + server_->short_name() : "",
                                     member_.config.algorithm.federated.server_wait_seconds)};
        }
        if (host.now() >= next_hello_) say_hello();
        const auto message = context_.inbox.next(std::min(next_hello_, host.now() + kStopCheckSeconds));
        if (!message || !may_serve(message->sender)) continue;
        if (const auto* download = std::get_if<gossip::StarDownload>(&message->body)) {
            server_ = message->sender;
            heard_ = host.now();
            ATOLL_TRY(on_download(*download, message->payload));
        } else if (const auto* receipt = std::get_if<gossip::MixReceipt>(&message->body)) {
            heard_ = host.now();
            ATOLL_TRY(on_receipt(*receipt));
        }
    }
    return {};
}

// A new state, of which the server counts nothing yet.
void FederatedClient::begin_life() {
    ClientPart& client = member_.client;
    client.birth = static_cast<std::uint64_t>(context_.host.unix_time() * 1e6);
    client.sequence = client.birth;
    client.core.restart();
    push_.reset();
}

void FederatedClient::say_hello() {
    gossip::Host& host = context_.host;
    next_hello_ = host.now() + kHelloSeconds;
    const ClientPart& client = member_.client;
    const gossip::StarHello hello{.round = member_.round,
                                  .birth = client.birth,
                                  .parameters = member_.parameters,
                                  .unix_time = host.unix_time()};
    context_.inbox.absorb();
    for (const gossip::PeerId& peer : context_.inbox.view().members) {
        if (peer == host.self() || !may_serve(peer)) continue;
        (void)host.send(peer, hello);  // one that is lost is followed by another
        // Whoever lost the bytes of its push in a crash takes it back, or hears that it was counted.
        if (client.core.pending() && !push_) (void)host.send(peer, gossip::MixWithdraw{client.sequence});
    }
}

// No client can pretend to be the server, and, once one has spoken, nobody else.
bool FederatedClient::may_serve(const gossip::PeerId& peer) const {
    if (server_) return peer == *server_;
    const std::string& chosen = member_.config.averaging.server;
    if (!chosen.empty()) return peer.text().starts_with(chosen);
    const gossip::View& view = context_.inbox.view();
    const auto index = view.index_of(peer);
    return index && view.standing(*index) != gossip::Standing::client;
}

Status FederatedClient::on_receipt(const gossip::MixReceipt& receipt) {
    if (receipt.sequence == 0) {  // about our hello
        if (receipt.kind == gossip::ReceiptKind::refused)
            return Error{ErrorCode::refused, "the server refuses this client: " + receipt.reason};
        log::warn("the server has forgotten this client ({}): it begins anew", receipt.reason);
        begin_life();
        next_hello_ = context_.host.now();
        return {};
    }
    if (receipt.sequence != member_.client.sequence) return {};
    return settle(receipt.kind, receipt.reason);
}

Status FederatedClient::on_download(const gossip::StarDownload& download, const SharedBytes& payload) {
    const ClientPart& client = member_.client;
    next_hello_ = context_.host.now() + kHelloSeconds;
    if (download.decided == client.sequence)
        ATOLL_TRY(settle(download.verdict, "said the server when asked"));
    const bool lost = push_ && download.received < client.sequence;
    if (lost && context_.host.now() >= push_->resend) send_push();
    if (client.core.pending()) return {};
    if (context_.leaving) return leave();
    if (download.parts.empty()) return {};
    if (const Status read = read_download(download, payload.view()); !read) {
        log::warn("a download of {} is refused: {}", server_->short_name(), read.error().message);
        return {};
    }
    if (download.round >= algorithm_.rounds()) return finish();
    return download.round >= member_.round ? train(download) : Status();
}

Status FederatedClient::read_download(const gossip::StarDownload& download, ByteView payload) {
    std::vector<std::span<float>> vectors = {model_};
    if (!mean_.empty()) vectors.emplace_back(mean_);
    return decode_vectors(*member_.exact, download.parts, payload, vectors);
}

Status FederatedClient::train(const gossip::StarDownload& download) {
    RoundReport report;
    report.average = {.weight = 1, .members = context_.inbox.view().size()};
    const auto clients = static_cast<std::size_t>(std::max<std::uint64_t>(download.members, 1));
    ATOLL_ASSIGN(EncodedVectors encoded,
                 member_.train(context_, model_, mean_, clients, download.round, report));
    const std::uint64_t tokens = report.tokens;
    return push(std::move(encoded), std::move(report), {.round = download.round, .tokens = tokens});
}

// The last push takes back all that the server counts of this client.
Status FederatedClient::leave() {
    if (!member_.method->tracks()) {
        finished_ = true;
        return {};
    }
    EncodedVectors encoded =
        member_.encode(context_, *member_.exact, member_.client.core.leave(), member_.round);
    return push(std::move(encoded), {}, {.round = member_.round, .leaving = true});
}

Status FederatedClient::push(EncodedVectors encoded, RoundReport report, gossip::StarUpload head) {
    Push push{.head = std::move(head), .payload = std::move(encoded.payload), .report = std::move(report)};
    push.head.sequence = member_.client.sequence;
    push.head.parts = std::move(encoded.parts);
    push.patience = kPatienceFraction * member_.config.averaging.deadline_seconds;
    member_.round = push.head.round;
    ATOLL_TRY(context_.observer.persist(algorithm_));
    push_ = std::move(push);
    heard_ = push_->sent = context_.host.now();
    send_push();
    return {};
}

void FederatedClient::send_push() {
    if (context_.host.send(*server_, push_->head, push_->payload).ok())
        push_->report.average.bytes_sent += push_->payload.size();
    // One that is still on its way is not sent again: each time the wait is twice as long.
    push_->resend = context_.host.now() + push_->patience;
    push_->patience *= 2;
    next_hello_ = context_.host.now() + kHelloSeconds;
}

Status FederatedClient::settle(gossip::ReceiptKind verdict, const std::string& reason) {
    ClientPart& client = member_.client;
    if (!client.core.pending()) return {};
    const bool accepted = verdict == gossip::ReceiptKind::accepted;
    client.core.settle(accepted);
    if (!push_) return {};  // from before a restart
    Push push = std::move(*push_);
    push_.reset();
    if (push.head.leaving) {
        finished_ = accepted;
        return accepted ? context_.observer.persist(algorithm_) : Status();
    }
    RoundReport& report = push.report;
    if (!accepted) {
        report.average.complete = false;
        report.average.weight = 0;
        report.average.reasons.push_back(
            fmt::format("the server {} did not count our push: {}", server_->short_name(), reason));
    }
    member_.round = push.head.round + 1;
    report.round = member_.round;
    report.step = context_.worker.step();
    report.exchange_seconds = context_.host.now() - push.sent;
    report.average.seconds = report.exchange_seconds;
    return context_.observer.on_round(report, algorithm_);
}

// The run is over: its model is what this member ends with.
Status FederatedClient::finish() {
    member_.round = algorithm_.rounds();
    member_.show_model(context_.worker, model_, member_.round);
    (void)context_.host.send(*server_, gossip::MixReceipt{.sequence = member_.round});
    finished_ = true;
    return context_.observer.persist(algorithm_);
}

}  // namespace Atoll::federation
