// MemoryNetwork: any number of gossip::Hosts in one process, in virtual time, for tests of gossip and
// federation.
//
// A discrete-event simulation: every activity is a thread, but only the one that holds the baton runs. The
// clock advances only when all activities wait in sleep() or receive(), to the next event; nothing waits in
// real time. The same seed and the same code give the same run.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <queue>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/rng.h"
#include "gossip/host.h"

namespace Atoll::fakes {

class MemoryNetwork {
  public:
    static constexpr double kForever = std::numeric_limits<double>::infinity();

    struct Options {
        std::size_t hosts = 2;
        std::uint64_t seed = 1;
        double latency_seconds = 0.001;
        double jitter_seconds = 0;           // uniform, on top; the messages of a pair still arrive in order
        double bytes_per_second = kForever;  // of each directed pair
        bool connected = true;               // everyone may send to everyone without connect()
    };
    // A message between two different hosts, about to leave.
    struct Departure {
        std::size_t from = 0;
        std::size_t to = 0;
        double time = 0;
        const gossip::Body& body;
        std::size_t payload_bytes = 0;
    };
    // One delivery for each entry, that many seconds later than normal; empty: the message is lost. A
    // delivery with a delay may be overtaken.
    using Fate = std::vector<double>;
    using Hook = std::function<Fate(const Departure&)>;

    explicit MemoryNetwork(Options options);
    ~MemoryNetwork();
    MemoryNetwork(const MemoryNetwork&) = delete;
    MemoryNetwork& operator=(const MemoryNetwork&) = delete;

    [[nodiscard]] std::size_t size() const { return hosts_.size(); }
    // The host of member `index` in its present incarnation; stays valid after kill() and revive().
    [[nodiscard]] gossip::Host& host(std::size_t index);
    // Identities rise with the index, so that a view's order is the order of indices.
    [[nodiscard]] gossip::PeerId id(std::size_t index) const;
    [[nodiscard]] double now() const { return clock_; }

    void set_hook(Hook hook) { hook_ = std::move(hook); }
    // Starts a top-level activity, owned by the network.
    void start(std::size_t index, std::string name, std::function<void()> body);
    // Runs `action` at a virtual time, between activities.
    void at(double time, std::function<void()> action);
    // stopping() becomes true; sends still go out.
    void stop(std::size_t index);
    // The process is gone: stopping() becomes true, nothing arrives or leaves any more, the mailboxes are
    // lost.
    void kill(std::size_t index);
    // A fresh host with the same identity; start() its activities anew.
    void revive(std::size_t index);
    [[nodiscard]] bool alive(std::size_t index) const;
    // What membership would say: every living host gets a view of all living hosts.
    void announce_members(const std::string& reason);
    // The view of one host only.
    void announce_members_to(std::size_t index, const std::vector<std::size_t>& members,
                             const std::string& reason);

    // Runs until every activity has returned. False if they wait for ever, or are not done at virtual time
    // `until`; then all hosts are stopped and the activities have returned.
    [[nodiscard]] bool run(double until = 1e9);

    // What a message counts in traffic(): 64 bytes for the body, its variable parts, and the payload.
    [[nodiscard]] static std::size_t message_bytes(const gossip::Body& body, std::size_t payload_bytes);

  private:
    struct Task {
        std::function<void()> body;
        std::thread thread;
        std::condition_variable wake;
        bool baton = false;
        bool done = false;
        bool waiting = false;       // in sleep() or receive()
        std::uint64_t wait_id = 0;  // timers of earlier waits are recognised as stale by it
        Task* joiner = nullptr;     // waits in the destructor of the Activity
        const void* host = nullptr;
    };
    struct Event {
        double time;
        std::uint64_t order;
        std::function<void()> action;
        bool operator<(const Event& other) const {  // std::priority_queue pops the greatest
            return time != other.time ? time > other.time : order > other.order;
        }
    };
    class Node;
    class NodeActivity;

    Task& add_task(const void* host, std::function<void()> body);
    void run_task(Task& task);   // scheduler: hands the baton over and waits until it is back
    void give_back(Task& task);  // activity: returns the baton, waits for the next turn
    void wait(Task& task, double deadline);
    void wake(Task& task);
    void join(Task& task);
    bool step();
    void post(double time, std::function<void()> action) {
        events_.push({time, ++order_, std::move(action)});
    }
    void transmit(std::size_t from, std::size_t to, gossip::Message message);

    inline static thread_local Task* current_ = nullptr;

    Options options_;
    Rng rng_;
    Hook hook_;
    double clock_ = 0;
    std::uint64_t order_ = 0;
    std::vector<std::unique_ptr<Node>> hosts_;
    std::vector<std::unique_ptr<Node>> dead_;  // activities of a killed host may still unwind on it
    std::vector<std::uint64_t> epochs_;
    std::map<std::pair<std::size_t, std::size_t>, double> last_arrival_;
    std::deque<std::unique_ptr<Task>> tasks_;
    std::deque<Task*> ready_;
    std::priority_queue<Event> events_;
    std::size_t live_ = 0;
    // Guards the batons only: everything else is touched by whoever holds one.
    std::mutex mutex_;
    std::condition_variable scheduler_wake_;
    bool scheduler_baton_ = true;
};

class MemoryNetwork::NodeActivity : public gossip::Activity {
  public:
    NodeActivity(MemoryNetwork& network, Task& task) : network_(network), task_(task) {}
    ~NodeActivity() override { network_.join(task_); }
    void join() override { network_.join(task_); }

  private:
    MemoryNetwork& network_;
    Task& task_;
};

class MemoryNetwork::Node : public gossip::Host {
  public:
    Node(MemoryNetwork& network, std::size_t index) : network_(network), index_(index) {}

    [[nodiscard]] gossip::PeerId self() const override { return network_.id(index_); }
    [[nodiscard]] double now() const override { return network_.clock_; }
    [[nodiscard]] double unix_time() const override { return 1.8e9 + network_.clock_; }
    void sleep(double seconds) override {
        ATOLL_CHECK(current_ != nullptr);
        if (!stopping_) network_.wait(*current_, network_.clock_ + seconds);
    }
    [[nodiscard]] bool stopping() const override { return stopping_; }
    [[nodiscard]] std::unique_ptr<gossip::Activity> spawn(std::string, std::function<void()> body) override {
        return std::make_unique<NodeActivity>(network_, network_.add_task(this, std::move(body)));
    }
    void connect(const gossip::PeerId& peer, const std::string&) override { connected_.insert(peer); }
    void disconnect(const gossip::PeerId& peer) override { connected_.erase(peer); }

    [[nodiscard]] Status send(const gossip::PeerId& to, gossip::Body body, SharedBytes payload) override {
        if (!alive_) return Error{ErrorCode::unavailable, "this host is gone"};
        gossip::Message message{self(), std::move(body), std::move(payload)};
        if (to == self()) {
            put(std::move(message));
            return {};
        }
        if (!connected_.contains(to)) {
            ++traffic_.messages_lost;
            return Error{ErrorCode::refused, to.short_name() + " is not a peer of this host"};
        }
        traffic_.bytes_sent += message_bytes(message.body, message.payload.size());
        network_.transmit(index_, index_of(to), std::move(message));
        return {};
    }
    [[nodiscard]] std::optional<gossip::Message> receive(gossip::Topic topic, double deadline) override {
        ATOLL_CHECK(current_ != nullptr);
        auto& box = boxes_[topic];
        ATOLL_CHECK(box.receiver == nullptr);
        if (box.mail.empty() && !stopping_ && deadline > network_.clock_) {
            box.receiver = current_;
            while (box.mail.empty() && !stopping_ && deadline > network_.clock_)
                network_.wait(*current_, deadline);
            box.receiver = nullptr;
        }
        if (stopping_ || box.mail.empty()) return std::nullopt;
        gossip::Message message = std::move(box.mail.front());
        box.mail.pop_front();
        return message;
    }
    [[nodiscard]] Traffic traffic() const override { return traffic_; }

    void arrive(gossip::Message message) {
        if (!alive_) return;
        traffic_.bytes_received += message_bytes(message.body, message.payload.size());
        put(std::move(message));
    }
    void put(gossip::Message message) {
        auto& box = boxes_[gossip::topic_of(message.body)];
        box.mail.push_back(std::move(message));
        if (box.receiver != nullptr) network_.wake(*box.receiver);
    }
    void stop() {
        stopping_ = true;
        for (auto& task : network_.tasks_) {
            if (task->host == this) network_.wake(*task);
        }
    }
    void kill() {
        alive_ = false;
        for (auto& [topic, box] : boxes_) box.mail.clear();
        stop();
    }
    [[nodiscard]] bool alive() const { return alive_; }

  private:
    struct Mailbox {
        std::deque<gossip::Message> mail;
        Task* receiver = nullptr;
    };
    [[nodiscard]] std::size_t index_of(const gossip::PeerId& peer) const {
        for (std::size_t i = 0; i < network_.size(); ++i) {
            if (network_.id(i) == peer) return i;
        }
        ATOLL_CHECK(!"a peer of this network");
        return 0;
    }

    MemoryNetwork& network_;
    std::size_t index_;
    bool alive_ = true;
    bool stopping_ = false;
    std::map<gossip::Topic, Mailbox> boxes_;
    std::set<gossip::PeerId> connected_;
    Traffic traffic_;
};

inline MemoryNetwork::MemoryNetwork(Options options)
    : options_(options), rng_(Rng(options.seed).split("memory network")) {
    epochs_.resize(options.hosts, 0);
    for (std::size_t i = 0; i < options.hosts; ++i) hosts_.push_back(std::make_unique<Node>(*this, i));
    for (std::size_t i = 0; options.connected && i < options.hosts; ++i) {
        for (std::size_t j = 0; j < options.hosts; ++j) hosts_[i]->connect(id(j), "");
    }
}

inline MemoryNetwork::~MemoryNetwork() {
    for (auto& node : hosts_) node->stop();
    while (live_ > 0) ATOLL_CHECK(step());
    for (auto& task : tasks_) task->thread.join();
}

inline gossip::Host& MemoryNetwork::host(std::size_t index) { return *hosts_.at(index); }

inline gossip::PeerId MemoryNetwork::id(std::size_t index) const {
    gossip::PeerId peer;
    peer.key[0] = static_cast<std::byte>(index >> 8U);
    peer.key[1] = static_cast<std::byte>(index & 255U);
    peer.key[31] = std::byte{1};
    return peer;
}

inline void MemoryNetwork::start(std::size_t index, std::string, std::function<void()> body) {
    add_task(hosts_.at(index).get(), std::move(body));
}

inline void MemoryNetwork::at(double time, std::function<void()> action) { post(time, std::move(action)); }
inline void MemoryNetwork::stop(std::size_t index) { hosts_.at(index)->stop(); }
inline void MemoryNetwork::kill(std::size_t index) { hosts_.at(index)->kill(); }
inline bool MemoryNetwork::alive(std::size_t index) const { return hosts_.at(index)->alive(); }

inline void MemoryNetwork::revive(std::size_t index) {
    ATOLL_CHECK(!alive(index));
    dead_.push_back(std::move(hosts_.at(index)));
    hosts_[index] = std::make_unique<Node>(*this, index);
    for (std::size_t j = 0; options_.connected && j < size(); ++j) hosts_[index]->connect(id(j), "");
}

inline void MemoryNetwork::announce_members(const std::string& reason) {
    std::vector<std::size_t> members;
    for (std::size_t i = 0; i < size(); ++i) {
        if (alive(i)) members.push_back(i);
    }
    for (const std::size_t i : members) announce_members_to(i, members, reason);
}

inline void MemoryNetwork::announce_members_to(std::size_t index, const std::vector<std::size_t>& members,
                                               const std::string& reason) {
    gossip::View view{.epoch = ++epochs_.at(index), .members = {}, .reason = reason};
    for (const std::size_t i : members) view.members.push_back(id(i));
    hosts_.at(index)->put({id(index), gossip::ViewChanged{std::move(view)}, {}});
}

inline bool MemoryNetwork::run(double until) {
    bool in_time = true;
    while (live_ > 0) {
        const bool late = ready_.empty() && !events_.empty() && events_.top().time > until;
        const bool stuck = ready_.empty() && events_.empty();
        if (in_time && (late || stuck)) {
            in_time = false;
            for (auto& node : hosts_) node->stop();
        } else {
            ATOLL_CHECK(!stuck);  // an activity that waits although its host has stopped
            step();
        }
    }
    return in_time;
}

inline std::size_t MemoryNetwork::message_bytes(const gossip::Body& body, std::size_t payload_bytes) {
    std::size_t bytes = 64 + payload_bytes;
    if (const auto* share = std::get_if<gossip::MixShare>(&body)) bytes += 24 * share->parts.size();
    if (const auto* receipt = std::get_if<gossip::MixReceipt>(&body)) bytes += receipt->reason.size();
    if (const auto* refusal = std::get_if<gossip::StateRefusal>(&body)) bytes += refusal->reason.size();
    if (const auto* beat = std::get_if<gossip::Heartbeat>(&body)) {
        bytes += beat->name.size() + beat->address.size() + beat->certificate.size();
        for (const Bytes& other : beat->others) bytes += other.size();
    }
    return bytes;
}

// One activity's turn, or one event. False if there is neither.
inline bool MemoryNetwork::step() {
    if (!ready_.empty()) {
        Task* task = ready_.front();
        ready_.pop_front();
        run_task(*task);
        return true;
    }
    if (events_.empty()) return false;
    const Event event = events_.top();
    events_.pop();
    clock_ = std::max(clock_, event.time);
    event.action();
    return true;
}

inline MemoryNetwork::Task& MemoryNetwork::add_task(const void* host, std::function<void()> body) {
    tasks_.push_back(std::make_unique<Task>());
    Task& task = *tasks_.back();
    task.body = std::move(body);
    task.host = host;
    ++live_;
    ready_.push_back(&task);
    task.thread = std::thread([this, &task] {
        current_ = &task;
        std::unique_lock lock(mutex_);
        task.wake.wait(lock, [&] { return task.baton; });
        lock.unlock();
        task.body();
        task.body = nullptr;
        task.done = true;
        --live_;
        if (task.joiner != nullptr) ready_.push_back(task.joiner);
        lock.lock();
        task.baton = false;
        scheduler_baton_ = true;
        scheduler_wake_.notify_one();
    });
    return task;
}

inline void MemoryNetwork::run_task(Task& task) {
    std::unique_lock lock(mutex_);
    scheduler_baton_ = false;
    task.baton = true;
    task.wake.notify_one();
    scheduler_wake_.wait(lock, [&] { return scheduler_baton_; });
}

inline void MemoryNetwork::give_back(Task& task) {
    std::unique_lock lock(mutex_);
    task.baton = false;
    scheduler_baton_ = true;
    scheduler_wake_.notify_one();
    task.wake.wait(lock, [&] { return task.baton; });
}

inline void MemoryNetwork::wait(Task& task, double deadline) {
    task.waiting = true;
    if (deadline < kForever) {
        post(deadline, [this, &task, id = task.wait_id] {
            if (task.wait_id == id) wake(task);
        });
    }
    give_back(task);
}

inline void MemoryNetwork::wake(Task& task) {
    if (!task.waiting) return;
    task.waiting = false;
    ++task.wait_id;
    ready_.push_back(&task);
}

inline void MemoryNetwork::join(Task& task) {
    if (task.done) return;
    if (current_ == nullptr) {  // the test itself, outside run()
        while (!task.done) ATOLL_CHECK(step());
        return;
    }
    ATOLL_CHECK(task.joiner == nullptr && &task != current_);
    task.joiner = current_;
    give_back(*current_);
}

inline void MemoryNetwork::transmit(std::size_t from, std::size_t to, gossip::Message message) {
    const Departure departure{from, to, clock_, message.body, message.payload.size()};
    const Fate fate = hook_ ? hook_(departure) : Fate{0.0};
    const auto bytes = static_cast<double>(message_bytes(message.body, message.payload.size()));
    double& last = last_arrival_[{from, to}];
    const double jitter = options_.jitter_seconds * rng_.uniform();
    const double transfer_seconds = bytes / options_.bytes_per_second;
    last = std::max(clock_ + options_.latency_seconds + jitter, last) + transfer_seconds;
    for (const double delay : fate) {
        post(last + delay, [this, to, message] { hosts_[to]->arrive(message); });
    }
}

}  // namespace Atoll::fakes
