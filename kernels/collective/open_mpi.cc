#include "kernels/collective/open_mpi.h"

#include <dlfcn.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>

namespace Atoll::kernels {

namespace {

// A part is summed a piece at a time, so that the copies of all ranks need little memory.
constexpr std::size_t kPieceFloats = std::size_t{1} << 20U;

Error unavailable(const std::string& why) {
    return {ErrorCode::unavailable, "mpirun started this process, but " + why +
                                        "; for a process without others set local.launcher = none"};
}

class OverMpi final : public Collective {
  public:
    OverMpi(std::unique_ptr<Mpi> mpi, std::unique_ptr<Star> star)
        : mpi_(std::move(mpi)), star_(std::move(star)) {}

    [[nodiscard]] std::string name() const override { return "Open MPI"; }
    [[nodiscard]] int rank() const override { return star_->rank(); }
    [[nodiscard]] int size() const override { return star_->size(); }

    Status reduce_scatter(std::span<float> vector, const Parts& parts) override {
        std::size_t longest = 0;
        for (int i = 0; i < size(); ++i) longest = std::max(longest, parts.size(i));
        for (std::size_t from = 0; from < longest; from += kPieceFloats)
            ATOLL_TRY(reduce_piece(vector, parts, from));
        return {};
    }

    Status all_gather(std::span<float> vector, const Parts& parts) override {
        std::vector<Transfer> sends, receives;
        const std::span<float> mine = parts.of(rank(), vector);
        for (int i = 0; i < size(); ++i) {
            if (i == rank()) continue;
            const std::span<float> theirs = parts.of(i, vector);
            sends.push_back({mine.data(), mine.size(), i});
            receives.push_back({theirs.data(), theirs.size(), i});
        }
        return exchange(sends, receives);
    }

    Status broadcast(std::span<float> vector) override {
        std::vector<Transfer> sends, receives;
        if (rank() != 0) receives.push_back({vector.data(), vector.size(), 0});
        for (int i = 1; i < size() && rank() == 0; ++i) sends.push_back({vector.data(), vector.size(), i});
        return exchange(sends, receives);
    }

    Result<std::vector<Bytes>> all_gather(ByteView mine) override { return noted(star_->all_gather(mine)); }
    Result<Bytes> broadcast(ByteView bytes) override { return noted(star_->broadcast(bytes)); }

  private:
    // The floats `from` .. of every part: each rank gets all ranks' of its own part, and adds them in their
    // order.
    Status reduce_piece(std::span<float> vector, const Parts& parts, std::size_t from) {
        const auto piece = [&](int rank) {
            const std::span<float> part = parts.of(rank, vector);
            const std::size_t begin = std::min(from, part.size());
            return part.subspan(begin, std::min(kPieceFloats, part.size() - begin));
        };
        const std::span<float> own = piece(rank());
        others_.resize(own.size() * static_cast<std::size_t>(size()));
        const auto of = [&](int rank) {
            return std::span(others_).subspan(own.size() * static_cast<std::size_t>(rank), own.size());
        };
        std::vector<Transfer> sends, receives;
        for (int i = 0; i < size(); ++i) {
            if (i == rank()) continue;
            const std::span<float> theirs = piece(i);
            sends.push_back({theirs.data(), theirs.size(), i});
            receives.push_back({of(i).data(), own.size(), i});
        }
        ATOLL_TRY(exchange(sends, receives));
        std::ranges::copy(own, of(rank()).begin());
        std::ranges::copy(of(0), own.begin());
        for (int i = 1; i < size(); ++i) {
            const std::span<const float> values = of(i);
            for (std::size_t k = 0; k < own.size(); ++k) own[k] += values[k];
        }
        return {};
    }

    Status exchange(const std::vector<Transfer>& sends, const std::vector<Transfer>& receives) {
        until_ = star_->deadline();
        why_ = {};
        const Mpi::Patience patience{[](void* self) { return static_cast<OverMpi*>(self)->go_on(); }, this};
        if (mpi_->exchange(sends.data(), sends.size(), receives.data(), receives.size(), patience)) return {};
        mpi_->abandon();
        return why_.ok() ? star_->fail({ErrorCode::failed,
                                        "Open MPI reports an error: a rank or a connection is gone"})
                         : why_.error();
    }

    bool go_on() {
        why_ = star_->look();
        if (why_.ok() && monotonic_seconds() > until_) {
            why_ = star_->fail(
                {ErrorCode::failed, fmt::format("{} waits in vain for the numbers of another rank "
                                                "(local.rank_deadline_seconds)",
                                                star_->describe(rank()))});
        }
        return why_.ok();
    }

    template <typename T>
    Result<T> noted(Result<T> result) {
        if (!result.ok()) mpi_->abandon();
        return result;
    }

    std::unique_ptr<Mpi> mpi_;
    std::unique_ptr<Star> star_;
    std::vector<float> others_;
    double until_ = 0;
    Status why_;  // waiting has ended
};

}  // namespace

Result<std::unique_ptr<Mpi>> load_mpi() {
    std::error_code code;
    const auto program = std::filesystem::read_symlink("/proc/self/exe", code);
    const auto backend = program.parent_path() / kMpiBackendFile;
    if (!std::filesystem::exists(backend, code)) {
        return unavailable("this build has no Open MPI (" + backend.string() +
                           " is not there): build Atoll where libopenmpi-dev is installed");
    }
    // Global: Open MPI's own plugins look for its symbols.
    void* const library = ::dlopen(backend.c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (library == nullptr) return unavailable(::dlerror());
    const auto make = reinterpret_cast<MakeMpi>(::dlsym(library, kMakeMpiSymbol));
    if (make == nullptr) return unavailable(backend.string() + " is of another version of Atoll");
    std::array<char, 256> error{};
    std::unique_ptr<Mpi> mpi(make(error.data(), error.size()));
    if (!mpi) return unavailable(error.data());
    return mpi;
}

Result<std::unique_ptr<Star>> meet_by_mpi(Mpi& mpi, const Launch& launch, double deadline_seconds) {
    if (mpi.rank() != launch.rank || mpi.size() != launch.size) {
        return unavailable(fmt::format("Open MPI says rank {} of {} where its variables say rank {} of {}",
                                       mpi.rank(), mpi.size(), launch.rank, launch.size));
    }
    struct Address {
        std::array<char, 256> host{};
        std::uint16_t port = 0;  // 0: rank 0 cannot listen
    } address;
    Result<Listener> listener = Listener{};
    std::array<char, 256> here{};
    (void)::gethostname(here.data(), here.size() - 1);
    if (launch.rank == 0) {
        listener = listen_on(0);
        address = {here, listener.ok() ? listener->port : std::uint16_t{0}};
    }
    mpi.broadcast(&address, sizeof address);
    if (!listener.ok()) return listener.error();
    if (address.port == 0) return Error{ErrorCode::unavailable, "rank 0 cannot listen for the other ranks"};
    const bool same_machine = address.host == here;
    return Star::meet({.rank = launch.rank,
                       .size = launch.size,
                       .host = same_machine ? "localhost" : address.host.data(),
                       .port = address.port,
                       .deadline_seconds = deadline_seconds},
                      std::move(*listener));
}

std::unique_ptr<Collective> make_open_mpi(std::unique_ptr<Mpi> mpi, std::unique_ptr<Star> star) {
    return std::make_unique<OverMpi>(std::move(mpi), std::move(star));
}

}  // namespace Atoll::kernels
