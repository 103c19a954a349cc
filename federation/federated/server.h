// The server of a federated run: asks the clients of each round to train, takes in what they push, steps.
//
// It decides about every push once, in the order of the clients' numbers, when the round ends; persists the
// decisions together with what they changed; and only then tells the clients. A push that comes again is
// answered with what was decided.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "federation/federated/member.h"
#include "federation/federated/participation.h"

namespace Atoll::federation {

class FederatedServer {
  public:
    FederatedServer(Context& context, FederatedMember& member, Algorithm& algorithm);

    // Until the rounds are done and the clients that are there have the model: as long as those that have not
    // are heard of, at most algorithm.round_seconds. A round waits for its clients no longer than
    // algorithm.round_seconds; one that leaves the view is not waited for. Errors: interrupted, the worker's,
    // the observer's, of the participation law.
    [[nodiscard]] Status run();

  private:
    struct Push {
        gossip::StarUpload head;
        SharedBytes payload;
        bool withdrawn = false;
        std::string objection = {};  // why it does not count
        double size = 0;             // norm of its vectors
    };

    [[nodiscard]] Status wait_for_clients();
    [[nodiscard]] Status one_round(const Participation& law);
    void ask(const std::vector<std::size_t>& chosen);
    [[nodiscard]] Status train_too(RoundReport& report);
    [[nodiscard]] Status collect(RoundReport& report);
    [[nodiscard]] std::set<std::uint64_t> decide(std::vector<std::string>& reasons);
    void take_in(RoundReport& report);
    [[nodiscard]] std::string judge(const Push& push, double& size);
    [[nodiscard]] double norm_bound(std::vector<double> sizes);
    void take_in_one(ClientRecord& client, const Push& push, std::size_t participants, std::size_t clients);
    void forget_absent();
    void tell_decisions();
    [[nodiscard]] Status farewell();

    void handle(const gossip::Message& message, std::vector<std::string>& reasons);
    void on_hello(const gossip::PeerId& from, const gossip::StarHello& hello);
    void on_push(const gossip::PeerId& from, const gossip::StarUpload& head, const SharedBytes& payload);
    void on_withdraw(const gossip::PeerId& from, std::uint64_t sequence);
    [[nodiscard]] bool admit(ClientRecord*& record, const gossip::PeerId& from,
                             const gossip::StarHello& hello);
    [[nodiscard]] static bool is_next(const ClientRecord& client, std::uint64_t sequence);
    void tell(ClientRecord& client, bool with_model);
    void expect_download(ClientRecord& client) const;
    void refuse(const gossip::PeerId& peer, gossip::ReceiptKind kind, std::string reason);
    [[nodiscard]] bool present(const ClientRecord& client) const;
    [[nodiscard]] bool is_self(const ClientRecord& client) const;
    [[nodiscard]] Status check_stop() const;

    Context& context_;
    FederatedMember& member_;
    Algorithm& algorithm_;
    ServerPart& server_;
    EncodedVectors model_;                  // of this round, as it goes down
    std::set<std::uint64_t> waiting_;       // numbers of clients whose push of this round has not come
    std::map<std::uint64_t, Push> pushes_;  // undecided, by client
    std::vector<float> update_, change_;    // of the push being taken in
    std::set<gossip::PeerId> done_;         // have the model of the end
};

}  // namespace Atoll::federation
