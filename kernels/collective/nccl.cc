#include "kernels/collective/nccl.h"

#include <dlfcn.h>
#include <fmt/core.h>

#include <chrono>
#include <cstring>
#include <thread>

namespace Atoll::kernels {

namespace {

// Values of nccl.h and cuda.h.
constexpr int kSuccess = 0;
constexpr int kInProgress = 7;  // ncclInProgress
constexpr int kFloat32 = 7;     // ncclFloat32
constexpr int kSum = 0;         // ncclSum
constexpr int kVersionMin = 21000;
constexpr int kNotReady = 600;  // CUDA_ERROR_NOT_READY
constexpr NcclStream kDefaultStream = nullptr;
constexpr std::chrono::microseconds kNap{20};
constexpr int kNapsBetweenLooks = 500;

Error unavailable(const std::string& why) {
    return {ErrorCode::unavailable, "device cuda with several ranks needs NCCL: " + why};
}

template <typename Function>
Status find(void* library, const std::string& file, const char* name, Function& function) {
    function = reinterpret_cast<Function>(::dlsym(library, name));
    if (function != nullptr) return {};
    return unavailable(fmt::format("{} has no function {}: install NCCL 2.10 or newer", file, name));
}

class OverNccl final : public Collective {
  public:
    OverNccl(const NcclLibrary& library, std::unique_ptr<Star> star)
        : nccl_(library), star_(std::move(star)) {}
    ~OverNccl() override {
        if (comm_ == nullptr) return;
        (void)(lost_ ? nccl_.comm_abort(comm_) : nccl_.comm_destroy(comm_));
    }

    // Rank 0's id makes the others' communicators one with its own.
    Status connect() {
        NcclUniqueId id{};
        Status made;
        if (rank() == 0) made = checked("ncclGetUniqueId", nccl_.get_unique_id(&id));
        ATOLL_TRY(star_->agree(made));
        ATOLL_ASSIGN(const Bytes bytes, star_->broadcast(std::as_bytes(std::span(&id, 1))));
        if (bytes.size() != sizeof id)
            return star_->fail({ErrorCode::failed, "rank 0's NCCL id has another size"});
        std::memcpy(&id, bytes.data(), sizeof id);
        return star_->agree(checked("ncclCommInitRank", nccl_.comm_init_rank(&comm_, size(), id, rank())));
    }

    [[nodiscard]] std::string name() const override { return "NCCL"; }
    [[nodiscard]] int rank() const override { return star_->rank(); }
    [[nodiscard]] int size() const override { return star_->size(); }

    // ncclReduceScatter wants parts of equal size; these are not.
    Status reduce_scatter(std::span<float> vector, const Parts& parts) override {
        return grouped("ncclReduce", parts, [&](int owner) {
            float* const part = parts.of(owner, vector).data();
            return nccl_.reduce(part, part, parts.size(owner), kFloat32, kSum, owner, comm_, kDefaultStream);
        });
    }

    Status all_gather(std::span<float> vector, const Parts& parts) override {
        return grouped("ncclBroadcast", parts, [&](int owner) {
            float* const part = parts.of(owner, vector).data();
            return nccl_.broadcast(part, part, parts.size(owner), kFloat32, owner, comm_, kDefaultStream);
        });
    }

    Status broadcast(std::span<float> vector) override {
        std::vector<std::size_t> ends(static_cast<std::size_t>(size()), vector.size());
        return all_gather(vector, Parts(std::move(ends)));  // all of it is rank 0's part
    }

    Result<std::vector<Bytes>> all_gather(ByteView mine) override { return noted(star_->all_gather(mine)); }
    Result<Bytes> broadcast(ByteView bytes) override { return noted(star_->broadcast(bytes)); }

  private:
    [[nodiscard]] Status checked(const char* function, int result) const {
        if (result == kSuccess || result == kInProgress) return {};
        return Error{ErrorCode::failed, fmt::format("{} on {}: {} (NCCL_DEBUG=WARN says more)", function,
                                                    star_->describe(rank()), nccl_.get_error_string(result))};
    }

    template <typename T>
    Result<T> noted(Result<T> result) {
        lost_ = lost_ || !result.ok();
        return result;
    }

    template <typename Operation>
    Status grouped(const char* function, const Parts& parts, Operation operation) {
        if (comm_ == nullptr) return star_->look();
        Status status = checked("ncclGroupStart", nccl_.group_start());
        for (int owner = 0; status.ok() && owner < size(); ++owner) {
            if (parts.size(owner) > 0) status = checked(function, operation(owner));
        }
        const Status ended = checked("ncclGroupEnd", nccl_.group_end());
        if (status.ok()) status = ended;
        if (status.ok()) status = wait(function);
        if (status.ok()) return {};
        nccl_.comm_abort(comm_);  // frees it, also where another rank will never come
        comm_ = nullptr;
        return star_->fail(status.error());
    }

    Status wait(const char* function) {
        const double until = star_->deadline();
        for (int naps = 1;; ++naps) {
            const int state = nccl_.stream_query(kDefaultStream);
            if (state == kSuccess) return {};
            if (state != kNotReady)
                return Error{ErrorCode::failed, fmt::format("{} on {}: the card reports CUDA error {}",
                                                            function, star_->describe(rank()), state)};
            int error = kSuccess;
            ATOLL_TRY(checked("ncclCommGetAsyncError", nccl_.comm_get_async_error(comm_, &error)));
            ATOLL_TRY(checked(function, error));
            if (naps % kNapsBetweenLooks == 0) ATOLL_TRY(star_->look());
            if (monotonic_seconds() > until) {
                return Error{ErrorCode::failed,
                             fmt::format("{} on {} has not ended in time (local.rank_deadline_seconds)",
                                         function, star_->describe(rank()))};
            }
            std::this_thread::sleep_for(kNap);
        }
    }

    NcclLibrary nccl_;
    std::unique_ptr<Star> star_;
    NcclComm comm_ = nullptr;
    bool lost_ = false;  // the other ranks: nothing can be ended together with them
};

}  // namespace

Result<NcclLibrary> load_nccl(const std::string& nccl_file, const std::string& driver_file) {
    void* const nccl = ::dlopen(nccl_file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (nccl == nullptr)
        return unavailable(
            nccl_file +
            " is not there (Debian and Ubuntu: libnccl2 of NVIDIA's repository); or use device cpu");
    void* const driver = ::dlopen(driver_file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (driver == nullptr)
        return unavailable(driver_file + " is not there: this machine has no NVIDIA driver");
    NcclLibrary library{};
    ATOLL_TRY(find(nccl, nccl_file, "ncclGetVersion", library.get_version));
    ATOLL_TRY(find(nccl, nccl_file, "ncclGetUniqueId", library.get_unique_id));
    ATOLL_TRY(find(nccl, nccl_file, "ncclCommInitRank", library.comm_init_rank));
    ATOLL_TRY(find(nccl, nccl_file, "ncclCommDestroy", library.comm_destroy));
    ATOLL_TRY(find(nccl, nccl_file, "ncclCommAbort", library.comm_abort));
    ATOLL_TRY(find(nccl, nccl_file, "ncclCommGetAsyncError", library.comm_get_async_error));
    ATOLL_TRY(find(nccl, nccl_file, "ncclReduce", library.reduce));
    ATOLL_TRY(find(nccl, nccl_file, "ncclBroadcast", library.broadcast));
    ATOLL_TRY(find(nccl, nccl_file, "ncclGroupStart", library.group_start));
    ATOLL_TRY(find(nccl, nccl_file, "ncclGroupEnd", library.group_end));
    ATOLL_TRY(find(nccl, nccl_file, "ncclGetErrorString", library.get_error_string));
    ATOLL_TRY(find(driver, driver_file, "cuStreamQuery", library.stream_query));
    int version = 0;
    if (library.get_version(&version) != kSuccess || version < kVersionMin)
        return unavailable(fmt::format("{} is of version {}: expected 2.10 or newer", nccl_file, version));
    return library;
}

Result<std::unique_ptr<Collective>> make_nccl(const NcclLibrary& library, std::unique_ptr<Star> star) {
    auto collective = std::make_unique<OverNccl>(library, std::move(star));
    ATOLL_TRY(collective->connect());
    return std::unique_ptr<Collective>(std::move(collective));
}

Result<std::string> card_of(int local_rank, const char* visible) {
    if (visible == nullptr) return std::to_string(local_rank);
    const std::string list = visible;
    if (list.find(',') == std::string::npos) return list;  // the launcher has given each rank its own
    std::size_t from = 0;
    for (int skipped = 0; skipped < local_rank; ++skipped) {
        const std::size_t comma = list.find(',', from);
        if (comma == std::string::npos) {
            return Error{
                ErrorCode::invalid,
                fmt::format("CUDA_VISIBLE_DEVICES = {} has no card for local rank {}: expected one a rank",
                            list, local_rank)};
        }
        from = comma + 1;
    }
    return list.substr(from, list.find(',', from) - from);
}

}  // namespace Atoll::kernels
