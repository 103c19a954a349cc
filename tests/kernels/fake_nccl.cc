// libfake_nccl.so: NCCL's functions for ranks that are threads of one process. It writes down every call, and
// does the arithmetic of a group when all ranks have ended it; and the driver's cuStreamQuery, which says
// "busy" once after each group. Written after nccl.h of NCCL 2.
#include "tests/kernels/fake_nccl.h"

#include <array>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>

namespace {

struct UniqueId {
    char bytes[128];
};

struct Operation {
    std::string name;
    const float* from = nullptr;
    float* to = nullptr;
    std::size_t count = 0;
    int root = 0;
};

// All ranks of a communicator.
struct World {
    int size = 0;
    int arrived = 0;
    int generation = 0;
    std::map<int, std::vector<Operation>> groups;
};

struct Comm {
    World* world = nullptr;
    int rank = 0;
};

// The rank whose thread this is, since its communicator was made.
thread_local Comm* current = nullptr;
thread_local std::vector<Operation> group;
thread_local int busy = 0;

class Fake final : public Atoll::fakes::FakeNccl {
  public:
    void reset() override {
        const std::lock_guard lock(mutex);
        calls_.clear();
        failures_.clear();
        hangs_.clear();
    }
    std::vector<std::string> calls(int rank) override {
        const std::lock_guard lock(mutex);
        return calls_[rank];
    }
    void fail(const std::string& function, int rank, int result) override {
        const std::lock_guard lock(mutex);
        failures_[{function, rank}] = result;
    }
    void hang(int rank, int asynchronous_error) override {
        const std::lock_guard lock(mutex);
        hangs_[rank] = asynchronous_error;
    }

    // Writes the call down; what it is to return.
    int note(const std::string& function, int rank, const std::string& arguments) {
        const std::lock_guard lock(mutex);
        calls_[rank].push_back(function + "(" + arguments + ")");
        const auto failure = failures_.find({function, rank});
        return failure == failures_.end() ? 0 : failure->second;
    }
    const int* hangs(int rank) {
        const std::lock_guard lock(mutex);
        const auto it = hangs_.find(rank);
        return it == hangs_.end() ? nullptr : &it->second;
    }

    std::mutex mutex;  // of everything
    std::condition_variable changed;
    std::map<std::string, World> worlds;

  private:
    std::map<int, std::vector<std::string>> calls_;
    std::map<std::pair<std::string, int>, int> failures_;
    std::map<int, int> hangs_;
};

Fake& fake() {
    static Fake fake;
    return fake;
}

// The arithmetic of all ranks' groups, by the last one to end its own. Sums backwards, so that nobody takes
// the fake's order for the one that is promised elsewhere.
void carry_out(World& world) {
    for (std::size_t i = 0; i < world.groups.begin()->second.size(); ++i) {
        const Operation first = world.groups.begin()->second[i];
        std::vector<float> result(first.count);
        for (int rank = world.size - 1; rank >= 0; --rank) {
            const Operation& operation = world.groups[rank][i];
            for (std::size_t k = 0; k < first.count; ++k) {
                if (first.name == "ncclReduce") result[k] += operation.from[k];
                if (first.name == "ncclBroadcast" && rank == first.root) result[k] = operation.from[k];
            }
        }
        for (int rank = 0; rank < world.size; ++rank) {
            if (first.name == "ncclReduce" && rank != first.root) continue;
            std::memcpy(world.groups[rank][i].to, result.data(), result.size() * sizeof(float));
        }
    }
    world.groups.clear();
}

std::string arguments_of(const Operation& operation, int type) {
    const float* const first = group.empty() ? operation.from : group.front().from;
    std::string text = operation.from == operation.to ? "in place" : "elsewhere";
    text += " at " + std::to_string(operation.from - first) + ", " + std::to_string(operation.count) +
            " of type " + std::to_string(type) + ", root " + std::to_string(operation.root);
    return text;
}

int enqueue(const Operation& operation, int type, void* stream) {
    const int result =
        fake().note(operation.name, current->rank,
                    arguments_of(operation, type) + (stream == nullptr ? "" : ", another stream"));
    group.push_back(operation);
    return result;
}

}  // namespace

extern "C" {

Atoll::fakes::FakeNccl* fake_nccl() { return &fake(); }

int ncclGetVersion(int* version) {
    *version = 22304;
    return 0;
}

int ncclGetUniqueId(UniqueId* id) {
    static int count = 0;
    const std::lock_guard lock(fake().mutex);
    std::snprintf(id->bytes, sizeof id->bytes, "world %d", ++count);
    return 0;
}

int ncclCommInitRank(Comm** comm, int ranks, UniqueId id, int rank) {
    const int result =
        fake().note("ncclCommInitRank", rank, std::to_string(ranks) + ", " + std::to_string(rank));
    if (result != 0) return result;
    const std::lock_guard lock(fake().mutex);
    World& world = fake().worlds[id.bytes];
    world.size = ranks;
    *comm = current = new Comm{&world, rank};
    group.clear();
    return 0;
}

int ncclCommDestroy(Comm* comm) {
    const int result = fake().note("ncclCommDestroy", comm->rank, "");
    delete comm;
    return result;
}

int ncclCommAbort(Comm* comm) {
    const int result = fake().note("ncclCommAbort", comm->rank, "");
    delete comm;
    return result;
}

int ncclCommGetAsyncError(Comm* comm, int* error) {
    const int* hangs = fake().hangs(comm->rank);
    *error = hangs == nullptr ? 0 : *hangs;
    return 0;
}

int ncclReduce(const void* from, void* to, std::size_t count, int type, int operation, int root, Comm*,
               void* stream) {
    if (operation != 0) return 4;  // ncclInvalidArgument: not a sum
    return enqueue({"ncclReduce", static_cast<const float*>(from), static_cast<float*>(to), count, root},
                   type, stream);
}

int ncclBroadcast(const void* from, void* to, std::size_t count, int type, int root, Comm*, void* stream) {
    return enqueue({"ncclBroadcast", static_cast<const float*>(from), static_cast<float*>(to), count, root},
                   type, stream);
}

int ncclGroupStart() {
    group.clear();
    return fake().note("ncclGroupStart", current->rank, "");
}

int ncclGroupEnd() {
    const int result = fake().note("ncclGroupEnd", current->rank, "");
    busy = 1;
    if (result != 0 || fake().hangs(current->rank) != nullptr) return result;
    World& world = *current->world;
    std::unique_lock lock(fake().mutex);
    world.groups[current->rank] = group;
    if (++world.arrived == world.size) {
        carry_out(world);
        world.arrived = 0;
        ++world.generation;
        fake().changed.notify_all();
        return 0;
    }
    fake().changed.wait(lock,
                        [&world, generation = world.generation] { return world.generation != generation; });
    return 0;
}

const char* ncclGetErrorString(int result) {
    return result == 2 ? "unhandled system error" : "another error";
}

int cuStreamQuery(void* stream) {
    constexpr int kNotReady = 600;
    if (stream != nullptr) return 400;  // CUDA_ERROR_INVALID_HANDLE
    if (fake().hangs(current->rank) != nullptr || busy-- > 0) return kNotReady;
    return 0;
}

}  // extern "C"
