// Averaging around a server: members send their vectors to one of them, which sums them in the order of the
// members' identities and sends everybody the mean, encoded once. It takes the decoded bytes itself, so all
// copies are bit-identical.
//
//   StarUpload    member -> server: its parts; repeated until a MixReceipt says that it came
//   StarDownload  server -> all in its view: the mean; repeated until a MixReceipt acknowledges it
//
// The server is server_of(view, averaging.server). It waits for half of the deadline, then takes the mean of
// those who came. If it leaves the view, or gives no answer within the deadline, the round is incomplete and
// the input stays as it was; the next round goes to whoever is then the server.
#pragma once

#include <map>
#include <optional>
#include <set>

#include "gossip/averaging/averaging.h"
#include "kernels/flat.h"

namespace Atoll::gossip {

class Star : public Averaging {
  public:
    explicit Star(const AveragingContext& context);

    [[nodiscard]] std::size_t stages(const Roster& roster) const override { return roster.n < 2 ? 0 : 1; }
    // options.deadline_seconds bounds the whole call.
    [[nodiscard]] Result<AverageReport> average(std::uint64_t round, std::span<AveragePart> parts) override;

  private:
    struct Upload {
        StarUpload head;
        SharedBytes payload;
    };

    [[nodiscard]] Status serve();
    [[nodiscard]] Status gather();
    [[nodiscard]] SharedBytes make_mean(std::vector<SharePart>& described);
    [[nodiscard]] Status answer(const StarDownload& download, const SharedBytes& payload);
    void on_upload(const PeerId& from, Upload upload);

    [[nodiscard]] Status ask(const PeerId& server);
    [[nodiscard]] Status wait_for_mean(const PeerId& server, const Upload& upload);
    [[nodiscard]] bool take_mean(const PeerId& server, const StarDownload& download, ByteView payload);
    [[nodiscard]] Upload make_upload();

    [[nodiscard]] Status interrupted() const;
    void note(std::string reason);
    void fail(std::string reason);

    AveragingContext context_;
    std::uint64_t next_sequence_;
    std::map<PeerId, Upload> early_;  // of later rounds, one a member
    kernels::FlatBuffer scratch_;
    kernels::FlatBuffer result_;    // the mean, until all of it is decoded
    kernels::FlatBuffer residual_;  // what the residuals become if the upload counts

    // Of the call in progress.
    std::span<AveragePart> parts_;
    std::uint64_t round_ = 0;
    double norm_ = 0;
    double start_ = 0;
    std::set<PeerId> expected_;         // whose upload has not come
    std::map<PeerId, Upload> uploads_;  // that count
    AverageReport report_;
};

}  // namespace Atoll::gossip
