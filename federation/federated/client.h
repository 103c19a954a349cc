// The client of a federated run: waits for the model, trains, pushes what came of it exactly once.
//
// Exactly once over a network that loses, repeats and delays, whoever crashes:
//   - every push has a sequence number, and the server decides about each number once;
//   - the client persists what it will be if the push counts (staged) before it sends the push, and becomes
//     that (commits) only when the server says so;
//   - while a push is undecided the client trains no other. It asks (StarHello) until the answer
//     (StarDownload) tells; what has not come is sent again;
//   - a client that crashed no longer has the bytes: it withdraws the push (MixWithdraw), and hears whether
//     it had been counted after all.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "federation/federated/member.h"

namespace Atoll::federation {

class FederatedClient {
  public:
    FederatedClient(Context& context, FederatedMember& member, Algorithm& algorithm)
        : context_(context), member_(member), algorithm_(algorithm) {}

    // Until the server says that the run is over. Errors: interrupted; refused (by the server, in its words);
    // unavailable: nothing was heard of the server for algorithm.server_wait_seconds; the worker's.
    [[nodiscard]] Status run();

  private:
    // A push that is not decided.
    struct Push {
        gossip::StarUpload head;
        SharedBytes payload;
        RoundReport report;
        double sent = 0;
        double resend = 0;    // host time before which it is not sent again ...
        double patience = 0;  // ... and for how long then
    };

    void say_hello();
    [[nodiscard]] bool may_serve(const gossip::PeerId& peer) const;
    [[nodiscard]] Status on_download(const gossip::StarDownload& download, const SharedBytes& payload);
    [[nodiscard]] Status on_receipt(const gossip::MixReceipt& receipt);
    [[nodiscard]] Status settle(gossip::ReceiptKind verdict, const std::string& reason);
    [[nodiscard]] Status read_download(const gossip::StarDownload& download, ByteView payload);
    [[nodiscard]] Status train(const gossip::StarDownload& download);
    [[nodiscard]] Status leave();
    [[nodiscard]] Status push(EncodedVectors encoded, RoundReport report, gossip::StarUpload head);
    [[nodiscard]] Status finish();
    void send_push();
    void begin_life();

    Context& context_;
    FederatedMember& member_;
    Algorithm& algorithm_;
    std::optional<gossip::PeerId> server_;  // once it has spoken
    std::vector<float> model_, mean_;       // of the last download
    std::optional<Push> push_;
    double heard_ = 0;  // of the server
    double next_hello_ = 0;
    bool finished_ = false;
};

}  // namespace Atoll::federation
