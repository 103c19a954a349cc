#include "sims/simulation.h"

#include <fmt/core.h>
#include <simgrid/s4u.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <map>
#include <set>

#include "base/check.h"
#include "base/rng.h"

namespace Atoll::sims {

namespace s4u = simgrid::s4u;

namespace {

constexpr std::size_t kTopics = static_cast<std::size_t>(gossip::Topic::join) + 1;
// A message's fixed cost on the wire: envelope, signature, framing (docs/reference/wire.md), and a frame for
// each MiB.
constexpr double kEnvelopeBytes = 400;
constexpr double kChunkBytes = 1 << 20;
constexpr double kChunkOverheadBytes = 50;
constexpr double kUnixTimeAtStart = 1.8e9;
constexpr double kForeverSeconds = 1e12;

std::size_t slot(gossip::Topic topic) { return static_cast<std::size_t>(topic); }

std::uint64_t wire_bytes(const gossip::Body& body, std::size_t payload, double scale) {
    double bytes = kEnvelopeBytes;
    if (const auto* heartbeat = std::get_if<gossip::Heartbeat>(&body)) {
        bytes += static_cast<double>(heartbeat->certificate.size());
        for (const auto& record : heartbeat->others) bytes += static_cast<double>(record.size());
    }
    const double carried = static_cast<double>(payload) * scale;
    bytes += carried + std::ceil(carried / kChunkBytes) * kChunkOverheadBytes;
    return static_cast<std::uint64_t>(bytes);
}

}  // namespace

class SimulatedHost;

struct Simulation::World {
    Scenario scenario;
    Options options;
    std::unique_ptr<s4u::Engine> engine;
    s4u::Host* controller = nullptr;
    std::vector<std::unique_ptr<SimulatedHost>> hosts;
    std::map<gossip::PeerId, std::size_t> index;
    std::vector<std::pair<double, std::function<void()>>> timers;
    Program program;
    Rng loss_rng{0};
    HashStream trace;
    std::uint64_t delivered = 0;
    std::uint64_t lost = 0;
    bool running = false;
    double last_end = 0;  // virtual time at which the latest program returned

    void build_platform();
    void start_node(std::size_t node);
    void start_timer(double seconds, std::function<void()> body);
    void record(double seconds, std::size_t from, std::size_t to, std::string_view kind, std::uint64_t bytes);
};

class SimulatedHost : public gossip::Host {
  public:
    SimulatedHost(Simulation::World& world, std::size_t node, gossip::PeerId id, s4u::Host* machine)
        : world_(world), node_(node), id_(id), machine_(machine) {}

    // ---- gossip::Host ----
    gossip::PeerId self() const override { return id_; }
    double now() const override { return s4u::Engine::get_clock(); }
    double unix_time() const override { return kUnixTimeAtStart + now(); }
    bool stopping() const override { return stopping_; }
    void connect(const gossip::PeerId& peer, const std::string&) override { strangers_.erase(peer); }
    void disconnect(const gossip::PeerId& peer) override { strangers_.insert(peer); }
    Traffic traffic() const override { return traffic_; }

    void sleep(double seconds) override {
        if (stopping_ || !(seconds > 0)) return;
        ++sleepers_;
        wake_sleepers_->acquire_timeout(std::min(seconds, kForeverSeconds));
        --sleepers_;
    }

    std::unique_ptr<gossip::Activity> spawn(std::string name, std::function<void()> body) override;
    Status send(const gossip::PeerId& to, gossip::Body body, SharedBytes payload) override;

    std::optional<gossip::Message> receive(gossip::Topic topic, double deadline) override {
        auto& queue = queues_[slot(topic)];
        for (;;) {
            if (stopping_) return std::nullopt;
            if (!queue.empty()) {
                // acquire() cannot block here: one token stands for each message.
                filled_[slot(topic)]->acquire();
                gossip::Message message = std::move(queue.front());
                queue.pop_front();
                return message;
            }
            const double wait = std::min(deadline - now(), kForeverSeconds);
            if (!(wait > 0)) return std::nullopt;
            if (filled_[slot(topic)]->acquire_timeout(wait)) return std::nullopt;
            if (!queue.empty()) {
                gossip::Message message = std::move(queue.front());
                queue.pop_front();
                return message;
            }
        }
    }

    // ---- for the world ----
    void deliver(gossip::Message message) {
        const std::size_t topic = slot(gossip::topic_of(message.body));
        queues_[topic].push_back(std::move(message));
        filled_[topic]->release();
    }

    void begin_incarnation() {
        ++incarnations_;
        on_ = true;
        stopping_ = false;
        sleepers_ = 0;
        strangers_.clear();
        outgoing_.clear();
        incoming_.clear();
        for (auto& queue : queues_) queue.clear();
        for (auto& semaphore : filled_) semaphore = s4u::Semaphore::create(0);
        wake_sleepers_ = s4u::Semaphore::create(0);
        mailbox()->clear();
        s4u::ActorPtr carrier = s4u::Actor::create("carrier", machine_, [this] { carry(); });
        carrier->daemonize();
    }

    void stop() {
        stopping_ = true;
        for (auto& semaphore : filled_) semaphore->release();
        for (int i = 0; i < sleepers_; ++i) wake_sleepers_->release();
    }

    std::uint64_t incarnations() const { return incarnations_; }
    s4u::Host* machine() const { return machine_; }
    bool is_on() const { return on_; }

    void switch_off() {
        on_ = false;
        // Sends that other actors began at this very instant reach SimGrid before the machine is off: it does
        // not accept them afterwards.
        s4u::this_actor::yield();
        machine_->turn_off();
    }

  private:
    // Messages of one sender on one topic arrive in the order of sending, as on a connection: a small one
    // that overtakes a large one on the simulated links waits for it. Numbered anew with each start of either
    // end.
    struct Delivery {
        gossip::Message message;
        std::uint64_t bytes = 0;
        std::uint64_t sender_incarnation = 0;
        std::uint64_t target_incarnation = 0;
        std::uint64_t sequence = 0;
    };
    struct Outgoing {
        std::uint64_t target_incarnation = 0;
        std::uint64_t next = 0;
    };
    struct Incoming {
        std::uint64_t sender_incarnation = 0;
        std::uint64_t next = 0;
        std::map<std::uint64_t, gossip::Message> early;
    };
    using Channel = std::pair<std::size_t, std::size_t>;  // the other node, the topic

    s4u::Mailbox* mailbox() const { return s4u::Mailbox::by_name(id_.text()); }

    // Takes what the network delivers and sorts it into the topics.
    void carry() {
        mailbox()->set_receiver(s4u::Actor::self());
        for (;;) {
            std::unique_ptr<Delivery> delivery;
            try {
                delivery.reset(mailbox()->get<Delivery>());
            } catch (
                const simgrid::NetworkFailureException&) {  // the sender was switched off in mid-transfer
                ++traffic_.messages_lost;
                ++world_.lost;
                continue;
            }
            traffic_.bytes_received += delivery->bytes;
            world_.record(now(), world_.index.at(delivery->message.sender), node_,
                          gossip::kind_name(delivery->message.body), delivery->bytes);
            if (delivery->target_incarnation == incarnations_) arrive(std::move(*delivery));
        }
    }

    void arrive(Delivery delivery) {
        Incoming& channel = incoming_[{world_.index.at(delivery.message.sender),
                                       slot(gossip::topic_of(delivery.message.body))}];
        if (channel.sender_incarnation != delivery.sender_incarnation) {
            channel = {.sender_incarnation = delivery.sender_incarnation};
        }
        channel.early.emplace(delivery.sequence, std::move(delivery.message));
        while (!channel.early.empty() && channel.early.begin()->first == channel.next) {
            deliver(std::move(channel.early.begin()->second));
            channel.early.erase(channel.early.begin());
            ++channel.next;
        }
    }

    Simulation::World& world_;
    std::size_t node_;
    gossip::PeerId id_;
    s4u::Host* machine_;
    bool on_ = false;
    bool stopping_ = false;
    int sleepers_ = 0;
    std::uint64_t incarnations_ = 0;
    std::array<std::deque<gossip::Message>, kTopics> queues_;
    std::array<s4u::SemaphorePtr, kTopics> filled_;
    s4u::SemaphorePtr wake_sleepers_;
    std::set<gossip::PeerId> strangers_;
    std::map<Channel, Outgoing> outgoing_;
    std::map<Channel, Incoming> incoming_;
    Traffic traffic_;
};

namespace {

class SimulatedActivity : public gossip::Activity {
  public:
    SimulatedActivity(s4u::ActorPtr actor, s4u::Host* machine)
        : actor_(std::move(actor)), machine_(machine) {}
    ~SimulatedActivity() override {
        // When the machine was switched off both actors are being destroyed: nothing to wait for.
        if (machine_->is_on()) actor_->join();
    }
    void join() override { actor_->join(); }

  private:
    s4u::ActorPtr actor_;
    s4u::Host* machine_;
};

}  // namespace

std::unique_ptr<gossip::Activity> SimulatedHost::spawn(std::string name, std::function<void()> body) {
    return std::make_unique<SimulatedActivity>(s4u::Actor::create(name, machine_, std::move(body)), machine_);
}

Status SimulatedHost::send(const gossip::PeerId& to, gossip::Body body, SharedBytes payload) {
    if (to == id_) {
        deliver({id_, std::move(body), std::move(payload)});
        return {};
    }
    const auto found = world_.index.find(to);
    if (found == world_.index.end() || strangers_.count(to) == 1) {
        return Error{ErrorCode::refused, "unknown peer " + to.short_name()};
    }
    SimulatedHost& target = *world_.hosts[found->second];
    if (!target.is_on()) {
        ++traffic_.messages_lost;
        ++world_.lost;
        return Error{ErrorCode::unavailable, to.short_name() + " is not connected"};
    }
    const std::uint64_t bytes = wire_bytes(body, payload.size(), world_.options.payload_scale);
    traffic_.bytes_sent += bytes;
    if (world_.options.loss > 0 && world_.loss_rng.uniform() < world_.options.loss) {
        ++traffic_.messages_lost;
        ++world_.lost;
        return {};
    }
    Outgoing& channel = outgoing_[{found->second, slot(gossip::topic_of(body))}];
    if (channel.target_incarnation != target.incarnations_) channel = {target.incarnations_, 0};
    auto delivery = std::make_unique<Delivery>(Delivery{{id_, std::move(body), std::move(payload)},
                                                        bytes,
                                                        incarnations_,
                                                        target.incarnations_,
                                                        channel.next++});
    target.mailbox()->put_init(delivery.release(), bytes)->detach([](void* undelivered) {
        delete static_cast<Delivery*>(undelivered);
    });
    return {};
}

void Simulation::World::record(double seconds, std::size_t from, std::size_t to, std::string_view kind,
                               std::uint64_t bytes) {
    ++delivered;
    trace.update(as_byte_view(fmt::format("{:.9f} {} {} {} {}\n", seconds, from, to, kind, bytes)));
}

void Simulation::World::build_platform() {
    s4u::NetZone* root = s4u::create_full_zone("world");
    std::vector<s4u::NetZone*> zones;
    std::vector<simgrid::kernel::routing::NetPoint*> gateways;
    Rng identities = Rng(options.seed).split("simulated identities");
    for (const auto& site : scenario.sites) {
        s4u::NetZone* zone = s4u::create_star_zone(site.name);
        zone->set_parent(root);
        simgrid::kernel::routing::NetPoint* gateway = zone->create_router(site.name + "-gateway");
        gateways.push_back(gateway);
        for (std::size_t i = 0; i < site.nodes; ++i) {
            const std::size_t node = hosts.size();
            const std::string name = fmt::format("{}-{}", site.name, i);
            s4u::Host* machine = zone->create_host(name, 1e9);
            // Half the site's latency on each access link: two of them lie between any two nodes.
            auto* link = zone->create_split_duplex_link(name + "-access", site.megabits * 1e6 / 8);
            link->set_latency(site.milliseconds * 1e-3 / 2)->seal();
            zone->add_route(machine->get_netpoint(), nullptr, nullptr, nullptr,
                            {{link, s4u::LinkInRoute::Direction::UP}}, true);
            gossip::PeerId id;
            if (node < options.peers.size()) {
                id = options.peers[node];
            } else {
                for (auto& byte : id.key) byte = static_cast<std::byte>(identities.bits32() & 255U);
            }
            hosts.push_back(std::make_unique<SimulatedHost>(*this, node, id, machine));
            index[id] = node;
        }
        zone->add_route(gateway, nullptr, nullptr, nullptr, std::vector<s4u::LinkInRoute>{}, true);
        zone->seal();
        zones.push_back(zone);
    }
    for (const auto& route : scenario.routes) {
        auto* link = root->create_split_duplex_link(fmt::format("route-{}-{}", route.from, route.to),
                                                    route.megabits * 1e6 / 8);
        link->set_latency(route.milliseconds * 1e-3)->seal();
        s4u::NetZone* a = zones[route.from];
        s4u::NetZone* b = zones[route.to];
        root->add_route(a->get_netpoint(), b->get_netpoint(), gateways[route.from], gateways[route.to],
                        {{link, s4u::LinkInRoute::Direction::UP}}, true);
    }
    s4u::NetZone* outside = s4u::create_star_zone("outside");
    outside->set_parent(root);
    controller = outside->create_host("controller", 1e9);
    auto* unused = outside->create_link("controller-access", 1e9);
    unused->seal();
    outside->add_route(controller->get_netpoint(), nullptr, nullptr, nullptr, {s4u::LinkInRoute(unused)},
                       true);
    outside->seal();
    root->seal();
}

void Simulation::World::start_node(std::size_t node) {
    SimulatedHost* host = hosts[node].get();
    host->begin_incarnation();
    s4u::Actor::create(fmt::format("node-{}", node), host->machine(), [this, node, host] {
        program(node, host->incarnations() - 1, *host);
        host->stop();
        last_end = host->now();
    });
}

void Simulation::World::start_timer(double seconds, std::function<void()> body) {
    s4u::Actor::create("timer", controller, [seconds, what = std::move(body)] {
        s4u::this_actor::sleep_until(seconds);
        what();
    })->daemonize();
}

Simulation::Simulation(const Scenario& scenario, const Options& options) : world_(std::make_unique<World>()) {
    world_->scenario = scenario;
    world_->options = options;
    world_->loss_rng = Rng(options.seed).split("message loss");
    // Textbook links: bytes over bandwidth plus latency, no TCP window (docs/explanation/simulation.md says
    // why).
    const std::vector<std::string> settings = {
        "atoll-sim",
        "--cfg=network/model:CM02",
        "--cfg=network/TCP-gamma:0",
        "--cfg=network/latency-factor:1",
        "--cfg=network/bandwidth-factor:1",
        "--cfg=network/crosstraffic:0",
        fmt::format("--cfg=contexts/stack-size:{}", options.stack_bytes / 1024),
        "--log=root.thres:critical",
    };
    std::vector<char*> arguments;
    for (const auto& setting : settings) arguments.push_back(const_cast<char*>(setting.c_str()));
    arguments.push_back(nullptr);
    int count = static_cast<int>(settings.size());
    world_->engine = std::make_unique<s4u::Engine>(&count, arguments.data());
    world_->build_platform();
}

Simulation::~Simulation() = default;

std::vector<gossip::PeerId> Simulation::peers() const {
    std::vector<gossip::PeerId> ids;
    for (const auto& host : world_->hosts) ids.push_back(host->self());
    return ids;
}

void Simulation::post(std::size_t node, gossip::Body body) {
    SimulatedHost& host = *world_->hosts[node];
    if (host.is_on()) host.deliver({host.self(), std::move(body), {}});
}

bool Simulation::is_on(std::size_t node) const { return world_->hosts[node]->is_on(); }

void Simulation::at(double seconds, std::function<void()> body) {
    if (world_->running) {
        world_->start_timer(seconds, std::move(body));
    } else {
        world_->timers.emplace_back(seconds, std::move(body));
    }
}

double Simulation::run(Program program, FaultListener listener) {
    World& world = *world_;
    world.program = std::move(program);
    for (const auto& fault : world.scenario.fault_script) {
        at(fault.seconds, [&world, &listener, fault] {
            SimulatedHost& host = *world.hosts[fault.node];
            if (host.is_on() == fault.on) return;
            if (fault.on) {
                host.machine()->turn_on();
                world.start_node(fault.node);
            } else {
                host.switch_off();
            }
            if (listener) listener(fault, s4u::Engine::get_clock());
        });
    }
    for (const auto& [seconds, body] : world.timers) world.start_timer(seconds, body);
    world.running = true;
    for (std::size_t node = 0; node < world.hosts.size(); ++node) world.start_node(node);
    world.engine->run_until(world.options.seconds_max);
    return world.last_end;
}

Simulation::Totals Simulation::totals() const {
    Totals totals;
    for (const auto& host : world_->hosts) totals.traffic.push_back(host->traffic());
    totals.messages_delivered = world_->delivered;
    totals.messages_lost = world_->lost;
    totals.trace = world_->trace.finish();
    return totals;
}

void stop(gossip::Host& host) { static_cast<SimulatedHost&>(host).stop(); }

}  // namespace Atoll::sims
