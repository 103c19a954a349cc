// libatoll-mpi.so: transfers between ranks by Open MPI.
#include "kernels/collective/mpi_backend.h"

#define OMPI_SKIP_MPICXX 1
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

namespace Atoll::kernels {

namespace {

constexpr std::size_t kCountMax = std::size_t{1} << 30U;  // of a message, in floats: MPI counts in int
constexpr int kSpins = 200;                               // looks before the processor is lent to others
constexpr std::chrono::microseconds kNap{50};
constexpr int kNapsBetweenQuestions = 200;

class OpenMpi final : public Mpi {
  public:
    OpenMpi() {
        MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
        MPI_Comm_size(MPI_COMM_WORLD, &size_);
        MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);  // a lost rank is ours to report
    }
    ~OpenMpi() override {
        if (!abandoned_) MPI_Finalize();
    }
    OpenMpi(const OpenMpi&) = delete;
    OpenMpi& operator=(const OpenMpi&) = delete;

    [[nodiscard]] int rank() const override { return rank_; }
    [[nodiscard]] int size() const override { return size_; }

    void broadcast(void* bytes, std::size_t size) override {
        MPI_Bcast(bytes, static_cast<int>(size), MPI_BYTE, 0, MPI_COMM_WORLD);
    }

    bool exchange(const Transfer* sends, std::size_t send_count, const Transfer* receives,
                  std::size_t receive_count, const Patience& patience) override {
        requests_.clear();
        bool good = true;
        const auto post = [&](const Transfer& transfer, auto operation) {
            for (std::size_t from = 0; from < transfer.count; from += kCountMax) {
                requests_.push_back(MPI_REQUEST_NULL);
                const int count = static_cast<int>(std::min(kCountMax, transfer.count - from));
                good = operation(transfer.values + from, count, MPI_FLOAT, transfer.rank, 0, MPI_COMM_WORLD,
                                 &requests_.back()) == MPI_SUCCESS &&
                       good;
            }
        };
        for (std::size_t i = 0; i < receive_count; ++i) post(receives[i], MPI_Irecv);
        for (std::size_t i = 0; i < send_count; ++i) post(sends[i], MPI_Isend);
        return good && wait(patience);
    }

    void abandon() override { abandoned_ = true; }

  private:
    bool wait(const Patience& patience) {
        for (int looks = 0;; ++looks) {
            int done = 0;
            if (MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done,
                            MPI_STATUSES_IGNORE) != MPI_SUCCESS)
                return false;
            if (done != 0) return true;
            if (looks < kSpins) {
                std::this_thread::yield();
                continue;
            }
            if (looks % kNapsBetweenQuestions == 0 && !patience.go_on(patience.context)) return false;
            std::this_thread::sleep_for(kNap);
        }
    }

    int rank_ = 0;
    int size_ = 1;
    bool abandoned_ = false;
    std::vector<MPI_Request> requests_;
};

}  // namespace

extern "C" __attribute__((visibility("default"))) Mpi* atoll_make_mpi(char* error, std::size_t error_bytes) {
    int initialized = 0, provided = 0;
    MPI_Initialized(&initialized);
    const int code =
        initialized != 0 ? MPI_SUCCESS : MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided);
    if (code != MPI_SUCCESS) {
        std::snprintf(error, error_bytes, "MPI_Init_thread gave error %d", code);
        return nullptr;
    }
    return new OpenMpi();
}

}  // namespace Atoll::kernels
