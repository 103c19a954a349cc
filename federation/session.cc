#include "federation/session.h"

#include <fmt/core.h>

#include "base/log.h"
#include "federation/catch_up.h"
#include "federation/names.h"
#include "federation/shared_state.h"
#include "federation/state_server.h"

namespace Atoll::federation {

namespace {
constexpr double kLookSeconds = 1;  // between two looks for members, or for a stop
}

Result<std::unique_ptr<Session>> Session::make(const RunConfig& config, Worker& worker, gossip::Host& host,
                                               const SessionOptions& options) {
    std::unique_ptr<Session> session(new Session(worker, host, options));
    session->seed_ = static_cast<std::uint64_t>(config.run.seed);
    ATOLL_ASSIGN(session->codec_,
                 gossip::make_codec(config.codec.name, {.threads = options.threads,
                                                        .stochastic = config.codec.rounding == "stochastic",
                                                        .density = config.codec.density,
                                                        .rank = config.codec.rank,
                                                        .layout = &worker.layout()}));
    ATOLL_ASSIGN(session->topology_, gossip::make_topology(config.topology.name,
                                                           {.degree = config.topology.degree,
                                                            .seed = session->seed_,
                                                            .rounding_up = config.topology.rounding == "ceil",
                                                            .reordered = config.topology.order == "reordered",
                                                            .interval = config.topology.interval}));
    ATOLL_ASSIGN(const AlgorithmEntry* algorithm,
                 find_entry("algorithm.name", config.algorithm.name, algorithms()));
    const bool as_told = config.averaging.stages > 0 || config.averaging.tolerance > 0;
    const std::int64_t stages = as_told ? config.averaging.stages : algorithm->stages;
    const gossip::AveragingContext context{.host = host,
                                           .inbox = session->inbox_,
                                           .topology = *session->topology_,
                                           .options = {.deadline_seconds = config.averaging.deadline_seconds,
                                                       .stages = stages,
                                                       .tolerance = config.averaging.tolerance,
                                                       .trim_fraction = config.averaging.trim_fraction,
                                                       .clip_radius = config.averaging.clip_radius,
                                                       .seed = session->seed_,
                                                       .norm_ratio_max = config.averaging.norm_ratio_max,
                                                       .server = config.averaging.server}};
    ATOLL_ASSIGN(session->averaging_, gossip::make_averaging(config.averaging.name, context));
    session->served_ = algorithm->served;
    if (options.spans) session->trace();
    session->algorithm_ = algorithm->make(config, worker.layout().size());
    if (!algorithm->cannot_bear.empty())
        log::warn("{} cannot bear {}", algorithm->name, algorithm->cannot_bear);
    if (algorithm->steps_itself) worker.release_optimizer();
    return session;
}

Session::~Session() = default;

void Session::trace() {
    traced_worker_ = std::make_unique<TracingWorker>(worker_, host_, options_.spans);
    codec_ = trace_codec(std::move(codec_), host_, options_.spans);
    averaging_ =
        std::make_unique<TracingAveraging>(std::move(averaging_), host_, *traced_worker_, options_.spans);
}

Status Session::run(Observer& observer, const StopToken& stop, JoinMode mode) {
    Context context{.worker = worker(),
                    .host = host_,
                    .inbox = inbox_,
                    .averaging = *averaging_,
                    .observer = observer,
                    .stop = stop,
                    .codec = *codec_,
                    .seed = seed_,
                    .late = mode == JoinMode::late,
                    .leaving = options_.leave};
    if (options_.leave && !served_) {
        return Error{ErrorCode::invalid,
                     "only a client of a federated algorithm has something to take back when it leaves: just "
                     "stop this member"};
    }
    if (!state_server_) {
        state_server_ = host_.spawn("state", [&host = host_] { serve_state(host); });
    }
    if (mode == JoinMode::late && !served_) ATOLL_TRY(join(context));
    return algorithm_->run(context);
}

Status Session::join(Context& context) {
    if (algorithm_->round() > 0) publish_state(host_, *algorithm_);  // another that is back may need ours
    const auto can_begin = [&] { return options_.holds_beginning || algorithm_->round() > 0; };
    const Error no_beginning{
        ErrorCode::unavailable,
        fmt::format(
            "the run begins with the model run.initial_model, which this node does not have, and in {} s no "
            "member was past round 0: try again later, or give the model with --init",
            options_.join_seconds)};
    const double deadline = host_.now() + options_.join_seconds;
    while (true) {
        (void)inbox_.wait_for_members(2, host_.now() + kLookSeconds);
        if (context.stop.requested() || host_.stopping()) {
            return Error{ErrorCode::interrupted, "stopped while looking for members"};
        }
        const bool last = host_.now() >= deadline;
        if (inbox_.view().size() < 2) {
            if (!last) continue;
            if (!can_begin()) return no_beginning;
            log::info("no other member in {} s: going on alone from round {}", options_.join_seconds,
                      algorithm_->round());
            return {};
        }
        const Status caught_up = catch_up(context, *algorithm_, CatchUp::on_arrival);
        if (caught_up.ok() && can_begin()) return {};
        if (caught_up.ok() && last) return no_beginning;
        if (!caught_up.ok() && (last || caught_up.error().code == ErrorCode::interrupted)) return caught_up;
        if (!caught_up.ok()) log::info("trying again: {}", caught_up.error().message);
        host_.sleep(kLookSeconds);
        inbox_.absorb();
    }
}

}  // namespace Atoll::federation
