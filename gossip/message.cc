#include "gossip/message.h"

namespace Atoll::gossip {

namespace {
template <typename... F>
struct Overloaded : F... {
    using F::operator()...;
};
template <typename... F>
Overloaded(F...) -> Overloaded<F...>;
}  // namespace

Topic topic_of(const Body& body) {
    return std::visit(Overloaded{[](const Heartbeat&) { return Topic::membership; },
                                 [](const Leave&) { return Topic::membership; },
                                 [](const JoinRequest&) { return Topic::membership; },
                                 [](const ProgressMade&) { return Topic::membership; },
                                 [](const MixShare&) { return Topic::mixing; },
                                 [](const MixReceipt&) { return Topic::mixing; },
                                 [](const MixWithdraw&) { return Topic::mixing; },
                                 [](const MixRequest&) { return Topic::mixing; },
                                 [](const ReduceReady&) { return Topic::mixing; },
                                 [](const ReducePlan&) { return Topic::mixing; },
                                 [](const ReduceChunk&) { return Topic::mixing; },
                                 [](const ReduceRequest&) { return Topic::mixing; },
                                 [](const ReduceVote&) { return Topic::mixing; },
                                 [](const ReduceTotal&) { return Topic::mixing; },
                                 [](const StarUpload&) { return Topic::mixing; },
                                 [](const StarDownload&) { return Topic::mixing; },
                                 [](const StarHello&) { return Topic::mixing; },
                                 [](const ViewChanged&) { return Topic::mixing; },
                                 [](const StateRequest&) { return Topic::state; },
                                 [](const StatePublished&) { return Topic::state; },
                                 [](const StateManifest&) { return Topic::transfer; },
                                 [](const StateChunk&) { return Topic::transfer; },
                                 [](const StateRefusal&) { return Topic::transfer; },
                                 [](const JoinReply&) { return Topic::join; }},
                      body);
}

std::string_view kind_name(const Body& body) {
    static constexpr std::string_view kNames[] = {
        "Heartbeat",    "Leave",         "MixShare",    "MixReceipt",    "MixWithdraw",  "MixRequest",
        "StateRequest", "StateManifest", "StateChunk",  "StateRefusal",  "JoinRequest",  "JoinReply",
        "ReduceReady",  "ReducePlan",    "ReduceChunk", "ReduceRequest", "ReduceVote",   "ReduceTotal",
        "StarUpload",   "StarDownload",  "StarHello",   "ViewChanged",   "ProgressMade", "StatePublished"};
    static_assert(std::size(kNames) == std::variant_size_v<Body>);
    return kNames[body.index()];
}

}  // namespace Atoll::gossip
