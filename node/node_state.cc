#include "node/node_state.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "node/cli.h"

namespace Atoll::node {

namespace {

nlohmann::json number(double value) {
    return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}

nlohmann::json member_json(const gossip::MemberStatus& member) {
    return {{"peer", member.peer.text()},
            {"name", member.name},
            {"address", member.address},
            {"region", member.region},
            {"state", member.state},
            {"role", gossip::role_name(member.role)},
            {"silence_seconds", member.silence_seconds},
            {"round", member.progress.round},
            {"step", member.progress.step},
            {"tokens", member.progress.tokens},
            {"loss", number(member.progress.loss)}};
}

// Families of metrics in the form that prometheus-cpp serialises.
class Families {
  public:
    void add(const std::string& name, const std::string& help, prometheus::MetricType type, double value,
             std::vector<prometheus::ClientMetric::Label> labels = {}) {
        if (families_.empty() || families_.back().name != name) families_.push_back({name, help, type, {}});
        prometheus::ClientMetric metric;
        metric.label = std::move(labels);
        metric.gauge.value = value;
        metric.counter.value = value;
        families_.back().metric.push_back(std::move(metric));
    }
    // Left out while it is not known.
    void gauge(const std::string& name, const std::string& help, double value) {
        if (std::isfinite(value)) add(name, help, prometheus::MetricType::Gauge, value);
    }
    void counter(const std::string& name, const std::string& help, std::uint64_t value) {
        add(name, help, prometheus::MetricType::Counter, static_cast<double>(value));
    }
    [[nodiscard]] std::string text() const { return prometheus::TextSerializer().Serialize(families_); }

  private:
    std::vector<prometheus::MetricFamily> families_;
};

}  // namespace

std::string state_json(const NodeState& state) {
    nlohmann::json members = nlohmann::json::array();
    for (const auto& member : state.members) members.push_back(member_json(member));
    const nlohmann::json object = {
        {"peer", state.peer},
        {"fingerprint", state.fingerprint},
        {"name", state.name},
        {"run", state.run},
        {"run_name", state.run_name},
        {"address", state.address},
        {"folder", state.folder},
        {"phase", state.phase},
        {"round", state.round},
        {"rounds", state.rounds},
        {"step", state.step},
        {"steps", state.steps},
        {"parameters", state.parameters},
        {"tokens", state.tokens},
        {"tokens_per_second", state.tokens_per_second},
        {"train_loss", number(state.train_loss)},
        {"val_loss", number(state.val_loss)},
        {"learning_rate", number(state.learning_rate)},
        {"gradient_norm", number(state.gradient_norm)},
        {"compute_seconds", state.compute_seconds},
        {"exchange_seconds", state.exchange_seconds},
        {"bytes_sent", state.bytes_sent},
        {"bytes_received", state.bytes_received},
        {"bytes_data_parallel", state.bytes_data_parallel},
        {"messages_lost", state.messages_lost},
        {"rounds_incomplete", state.rounds_incomplete},
        {"incomplete_reason", state.incomplete_reason},
        {"energy_joules", state.energy_joules},
        {"energy_source", state.energy_source},
        {"carbon_grams", state.carbon_grams},
        {"view", {{"epoch", state.view_epoch}, {"members", state.view_size}, {"reason", state.view_reason}}},
        {"members", std::move(members)},
        {"refusals", state.refusals},
        {"unix_time", state.unix_time},
        {"uptime_seconds", state.uptime_seconds},
    };
    return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string metrics_text(const NodeState& state) {
    Families families;
    families.add("atoll_build_info", "Version of the program", prometheus::MetricType::Gauge, 1,
                 {{"version", version_text()}, {"peer", state.peer.substr(0, 8)}});
    families.gauge("atoll_round", "Outer steps done", static_cast<double>(state.round));
    families.gauge("atoll_step", "Inner steps done", static_cast<double>(state.step));
    families.gauge("atoll_loss", "Training loss, nats per token", state.train_loss);
    families.gauge("atoll_validation_loss", "Held-out loss, nats per token", state.val_loss);
    families.gauge("atoll_learning_rate", "Inner learning rate", state.learning_rate);
    families.gauge("atoll_gradient_norm", "Gradient norm before clipping", state.gradient_norm);
    families.counter("atoll_tokens_total", "Tokens trained on by this node", state.tokens);
    families.gauge("atoll_tokens_per_second", "Tokens per second while computing", state.tokens_per_second);
    std::map<std::string, int> by_state;
    for (const auto& member : state.members) ++by_state[member.state];
    for (const auto& [name, count] : by_state) {
        families.add("atoll_peers", "Members known, by state", prometheus::MetricType::Gauge, count,
                     {{"state", name}});
    }
    families.add("atoll_last_round_seconds", "Time of the last round", prometheus::MetricType::Gauge,
                 state.compute_seconds, {{"phase", "compute"}});
    families.add("atoll_last_round_seconds", "Time of the last round", prometheus::MetricType::Gauge,
                 state.exchange_seconds, {{"phase", "exchange"}});
    families.counter("atoll_bytes_sent_total", "Bytes sent to peers", state.bytes_sent);
    families.counter("atoll_bytes_received_total", "Bytes received from peers", state.bytes_received);
    families.counter("atoll_bytes_data_parallel_total",
                     "Bytes synchronous data-parallel training would have sent", state.bytes_data_parallel);
    families.counter("atoll_messages_lost_total", "Messages refused, undeliverable or dropped",
                     state.messages_lost);
    for (const auto& [reason, count] : state.refusals) {
        families.add("atoll_messages_refused_total", "Messages refused, by reason",
                     prometheus::MetricType::Counter, static_cast<double>(count), {{"reason", reason}});
    }
    families.counter("atoll_rounds_incomplete_total", "Rounds in which a share did not come in time",
                     state.rounds_incomplete);
    families.add("atoll_energy_joules_total", "Energy used by this node", prometheus::MetricType::Counter,
                 state.energy_joules, {{"source", state.energy_source}});
    return families.text();
}

}  // namespace Atoll::node
