#include "node/node_runtime.h"

#include <fmt/core.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/chrome_trace.h"
#include "base/log.h"
#include "federation/replica_worker.h"
#include "federation/session.h"
#include "gossip/run_membership.h"
#include "gossip/validate.h"
#include "node/duration.h"
#include "node/host_network.h"
#include "node/http_state.h"
#include "node/node_observer.h"
#include "node/ranks.h"

namespace Atoll::node {

namespace {

constexpr std::uint64_t kPayloadSlackBytes = std::uint64_t{64} << 20U;
constexpr std::uint64_t kInboundPayloads = 8;  // of the largest size, arriving or waiting to be read
constexpr double kFarewellSeconds = 60;        // at most, for members that are still in their last round
constexpr double kFarewellLookSeconds = 0.2;

std::uint64_t seed_of(const gossip::PeerId& peer) {
    std::uint64_t seed = 0;
    std::memcpy(&seed, peer.key.data(), sizeof seed);
    return seed;
}

// `split`: of as many parts as the run has members at least. Nobody hands out parts, so two members may draw
// the same one; then they read it in different orders.
DataPart part_of(const federation::RunConfig& run, const gossip::PeerId& peer) {
    DataPart part{.member = 0, .members = 1, .stream = seed_of(peer)};
    if (run.data.assignment == "split") {
        part.members = static_cast<std::uint64_t>(std::max<std::int64_t>(1, run.run.members_min));
        part.member = part.stream % part.members;
    }
    return part;
}

// A vector of the model's size in fp32, twice for codecs and state that carry more than that.
TransportOptions transport_options(const LocalConfig& local, const kernels::Layout& layout) {
    const std::uint64_t payload = 2 * 4 * static_cast<std::uint64_t>(layout.size()) + kPayloadSlackBytes;
    return {.listen = local.listen,
            .payload_bytes_max = payload,
            .inbound_bytes_max = kInboundPayloads * payload};
}

// What others are told: as configured, or where this node listens unless that is no address to dial.
std::string announced_address(const LocalConfig& local, const std::string& bound) {
    if (!local.announce.empty()) {
        const auto address = gossip::parse_address(local.announce);
        return address.ok() ? address->text() : "";
    }
    const auto address = gossip::parse_address(bound);
    if (!address.ok() || address->host == "0.0.0.0" || address->host == "::") return "";
    return address->text();
}

// Lets the holders of invites that this machine issued shake hands, as long as the invites live.
void open_the_door(HostNetwork& host, const Home& home, const Hash& run) {
    host.gate().ask_else(
        [path = home.invites(run), run, &host](const CurveKey& key) -> std::optional<std::string> {
            const auto grants = gossip::read_grants(path);
            if (!grants) {
                log::warn("no invite is honoured: {}", grants.error().message);
                return std::nullopt;
            }
            for (const gossip::Grant& grant : *grants) {
                const auto token = gossip::curve_public_key(grant.token);
                if (!token || *token != key) continue;
                if (grant.run != run || !gossip::check_not_expired(grant, host.unix_time()))
                    return std::nullopt;
                return "invite:" + grant.token.short_name();
            }
            return std::nullopt;
        });
}

class Runtime {
  public:
    Runtime(const NodeRequest& request, Session& session)
        : request_(request),
          session_(session),
          run_(federation::run_id(request.config.run)),
          progress_(session.flags().quiet) {}

    Result<NodeResult> run();

  private:
    Status prepare();
    Status open_network();
    void on_membership(const gossip::Membership& membership);
    Result<NodeResult> finish(const Status& ended, federation::Session& part, NodeObserver& observer);
    void wait_for_the_others();
    [[nodiscard]] federation::SpanSink span_sink();

    const NodeRequest& request_;
    Session& session_;
    const Hash run_;
    Progress progress_;
    NodeBoard board_;
    Replica replica_;
    bool holds_beginning_ = false;
    std::optional<RunFolder> folder_;
    std::unique_ptr<EventSink> events_;
    std::unique_ptr<HostNetwork> host_;
    std::unique_ptr<HttpState> http_;
    std::unique_ptr<gossip::Membership> membership_;
    std::vector<Bytes> known_;  // members to dial first
    std::uint64_t saved_epoch_ = 0;
    double begun_ = 0;
    ChromeTrace trace_;
};

Status Runtime::prepare() {
    const Config& config = request_.config;
    const DataPart part = part_of(config.run, request_.identity.id());
    if (request_.ranks != nullptr) {
        // Only rank 0 has an identity, which the part of the data hangs on.
        ATOLL_ASSIGN(const Bytes told, request_.ranks->broadcast(std::as_bytes(std::span(&part, 1))));
        ATOLL_ASSIGN(replica_, make_shared_replica(config, part, *request_.ranks));
    } else {
        ATOLL_ASSIGN(replica_, make_replica(config, part));
    }
    ATOLL_ASSIGN(holds_beginning_, load_beginning(config, *replica_.trainer));
    auto folder = RunFolder::open({config.local.runs, config.local.folder, config.run.run.name,
                                   request_.identity.id().short_name(), to_hex(run_), request_.fresh, false});
    if (!folder) return folder.error();
    folder_.emplace(std::move(*folder));
    const GlobalFlags& flags = session_.flags();
    log::configure(flags.verbose ? log::Level::debug
                   : flags.quiet ? log::Level::error
                                 : log::Level::info,
                   config.local.log_file.empty() ? folder_->log_file().string() : config.local.log_file,
                   request_.identity.id().short_name());
    ATOLL_ASSIGN(events_, folder_->events(config.local.tensorboard));
    return {};
}

Status Runtime::open_network() {
    const LocalConfig& local = request_.config.local;
    ATOLL_ASSIGN(const std::uint64_t incarnation, request_.home.next_incarnation(run_, unix_seconds()));
    ATOLL_ASSIGN(host_, HostNetwork::start(request_.identity, {.run = run_,
                                                               .incarnation = incarnation,
                                                               .transport = transport_options(
                                                                   local, replica_.trainer->layout())}));
    open_the_door(*host_, request_.home, run_);
    begun_ = host_->now();
    const std::string address = announced_address(local, host_->bound_address());
    if (address.empty()) {
        session_.note(
            "note: other members cannot dial this node (local.announce says no address); it dials them");
    }
    const std::string name = local.name.empty() ? request_.identity.id().short_name() : local.name;
    ATOLL_TRY(gossip::check_name(name));
    if (const Status region = gossip::check_region(local.region); !region)
        return Error{ErrorCode::invalid, "local.region: " + region.error().message};
    membership_ = std::make_unique<gossip::Membership>(
        request_.identity, gossip::Authority{run_, request_.certificate.grant.owner}, request_.certificate,
        name, address, host_->incarnation(),
        gossip::MembershipOptions{.run_config = federation::to_text(request_.config.run),
                                  .region = local.region});
    board_.change([&](NodeState& state) {
        state.peer = request_.identity.id().text();
        state.fingerprint = gossip::fingerprint(request_.identity.id());
        state.name = name;
        state.run = to_hex(run_);
        state.run_name = request_.config.run.run.name;
        state.address = address;
        state.folder = folder_->path().string();
        const auto& run = request_.config.run;
        state.steps = static_cast<std::uint64_t>(run.run.rounds * run.algorithm.inner_steps);
        state.parameters = replica_.trainer->layout().parameters();
    });
    std::string http;
    if (!local.http.empty()) {
        ATOLL_ASSIGN(http_, HttpState::start(local.http, board_));
        http = http_->address();
    }
    trace_.name_process(0, name);
    session_.note(fmt::format("{} ({}) listens on {}{}", name, gossip::fingerprint(request_.identity.id()),
                              host_->bound_address(),
                              http.empty() ? "" : ", state on http://" + http + "/api/state"));
    return request_.home.save_running(
        {to_hex(run_), request_.identity.id().text(), address, http, folder_->path().string()});
}

void Runtime::on_membership(const gossip::Membership& membership) {
    const gossip::View& view = membership.view();
    if (view.epoch != saved_epoch_) {
        saved_epoch_ = view.epoch;
        if (const Status saved = request_.home.save_members(run_, membership.records()); !saved) {
            log::warn("the members are not remembered: {}", saved.error().message);
        }
    }
    board_.change([&](NodeState& state) {
        state.members = membership.members(host_->now());
        state.view_epoch = view.epoch;
        state.view_size = view.size();
        state.view_reason = view.reason;
        state.refusals = host_->refusals();
        state.unix_time = host_->unix_time();
        state.uptime_seconds = host_->now() - begun_;
        const auto traffic = host_->traffic();
        state.messages_lost = traffic.messages_lost;
    });
}

Result<NodeResult> Runtime::run() {
    ATOLL_TRY(prepare());
    known_ = request_.home.load_members(run_);
    const bool met_others = known_.size() > 1;
    known_.insert(known_.end(), request_.records.begin(), request_.records.end());
    ATOLL_TRY(open_network());

    federation::ReplicaWorker worker(*replica_.trainer);
    NodeObserver observer(request_.config, replica_, *host_, *folder_, *events_, progress_, board_);
    const bool continues = !model::list_checkpoints(folder_->checkpoints()).empty();
    ATOLL_ASSIGN(auto part, federation::Session::make(request_.config.run, worker, *host_,
                                                      {.threads = compute_threads(request_.config.local),
                                                       .holds_beginning = continues || holds_beginning_,
                                                       .leave = request_.leave,
                                                       .spans = span_sink()}));
    // Of a streaming run there are more, shorter ones than run.rounds says.
    board_.change([&](NodeState& state) { state.rounds = part->algorithm().rounds(); });
    session_.note(fmt::format("{} parameters; {}: {} bytes of state ({})",
                              replica_.trainer->layout().parameters(), request_.config.run.optimizer.name,
                              replica_.trainer->optimizer_state_bytes(),
                              request_.config.run.optimizer.state));
    std::string parent = request_.config.local.initial_model;
    if (continues) {
        ATOLL_ASSIGN(const auto restored,
                     federation::restore_member(folder_->checkpoints(), request_.config.run,
                                                *replica_.trainer, &part->algorithm()));
        observer.restore(restored);
        parent = restored.path.string();
        session_.note(
            fmt::format("continuing at round {}, step {} from {}", restored.round, restored.step, parent));
    }
    ATOLL_TRY(folder_->describe(request_.config, to_hex(run_), parent));

    const auto membership = host_->spawn("membership", [this] {
        gossip::carry_out(*host_, membership_->learn(known_, {host_->now(), host_->unix_time()}));
        gossip::run_membership(*host_, *membership_,
                               [this](const gossip::Membership& now) { on_membership(now); });
    });
    board_.change([](NodeState& state) { state.phase = "waiting"; });
    const bool first =
        request_.first && !met_others && (continues || holds_beginning_);  // nobody can be ahead
    const Status ended = part->run(observer, session_.stop(),
                                   first ? federation::JoinMode::first : federation::JoinMode::late);
    auto result = finish(ended, *part, observer);
    host_->stop();  // membership says goodbye; the state server ends
    part.reset();
    if (!request_.trace.empty()) ATOLL_TRY(trace_.write(request_.trace));
    return result;
}

federation::SpanSink Runtime::span_sink() {
    if (request_.trace.empty()) return {};
    return [this](std::string_view track, std::string_view name, double begin, double end) {
        trace_.span(0, track, name, begin, end);
    };
}

Result<NodeResult> Runtime::finish(const Status& ended, federation::Session& part, NodeObserver& observer) {
    NodeResult result;
    result.interrupted = !ended.ok() && ended.error().code == ErrorCode::interrupted;
    if (!ended.ok() && !result.interrupted) {
        const bool shared = request_.ranks != nullptr && request_.ranks->size() > 1;
        return shared ? with_newest_checkpoint(ended.error(), folder_->checkpoints()) : ended.error();
    }
    ATOLL_TRY(observer.save(part.algorithm()));
    if (!result.interrupted && !request_.leave) {
        ATOLL_TRY(observer.validate());
        wait_for_the_others();
    }
    observer.refresh();
    board_.change([&](NodeState& state) {
        state.round = part.algorithm().round();
        state.phase = "done";
    });
    result.state = board_.read();
    ATOLL_TRY(folder_->summarize(node_json(result)));
    return result;
}

// Members in their last round still need our shares' receipts and perhaps our state.
void Runtime::wait_for_the_others() {
    board_.change([](NodeState& state) { state.phase = "finishing"; });
    const NodeState own = board_.read();
    const gossip::ProgressMade progress{own.rounds, own.step, own.tokens, own.train_loss};
    if (const Status told = host_->send(host_->self(), progress, {}); !told) {
        log::warn("the others are not told that this node is done: {}", told.error().message);
    }
    const double deadline = host_->now() + kFarewellSeconds;
    while (host_->now() < deadline && !session_.stop().requested()) {
        const NodeState state = board_.read();
        bool all_done = true;
        for (const auto& member : state.members) {
            const bool there = member.state == "alive" || member.state == "suspect";
            all_done = all_done && (!there || member.progress.round >= state.rounds);
        }
        if (all_done) return;
        host_->sleep(kFarewellLookSeconds);
    }
}

}  // namespace

Result<Outcome> follow_node(const Config& config, kernels::Collective& ranks) {
    ATOLL_ASSIGN(const Bytes told, ranks.broadcast(ByteView()));
    DataPart part;
    if (told.size() != sizeof part)
        return Error{ErrorCode::failed, "rank 0 does not say which part of the data is ours"};
    std::memcpy(&part, told.data(), sizeof part);
    return follow(make_shared_replica(config, part, ranks), ranks);
}

Result<NodeResult> run_node(const NodeRequest& request, Session& session) {
    // The host outlives everything that uses it: Runtime's members are destroyed in the reverse order of
    // their making.
    Runtime runtime(request, session);
    return runtime.run();
}

std::string node_json(const NodeResult& result) {
    const NodeState& state = result.state;
    const auto number = [](double value) {
        return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
    };
    const nlohmann::json object = {
        {"peer", state.peer},
        {"run", state.run},
        {"rounds", state.round},
        {"steps", state.step},
        {"tokens", state.tokens},
        {"tokens_per_second", state.tokens_per_second},
        {"train_loss", number(state.train_loss)},
        {"val_loss", number(state.val_loss)},
        {"bytes_sent", state.bytes_sent},
        {"bytes_received", state.bytes_received},
        {"bytes_data_parallel", state.bytes_data_parallel},
        {"rounds_incomplete", state.rounds_incomplete},
        {"energy_joules", state.energy_joules},
        {"energy_source", state.energy_source},
        {"carbon_grams", state.carbon_grams},
        {"interrupted", result.interrupted},
        {"run_folder", state.folder},
    };
    return object.dump();
}

}  // namespace Atoll::node
