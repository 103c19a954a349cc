// Several processes (ranks) that form one node, and what they do together. All ranks call the same operations
// in the same order with the same sizes, each from one thread.
//
// A sum is taken in the order of ranks, ((r0 + r1) + r2) + ..., in fp32: it depends on nobody's speed, and is
// the same bits over Open MPI and TCP. NCCL has an order of its own, fixed for the same cards and
// connections.
//
// Errors of every operation name the rank that is gone, or that has not answered until the deadline; after
// one the object is of no use any more.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "kernels/collective/launch.h"

namespace Atoll::kernels {

// A vector cut into one part a rank, in the order of ranks. Parts may be empty.
class Parts {
  public:
    // Precondition: `ends`, one a rank, do not decrease.
    explicit Parts(std::vector<std::size_t> ends) : ends_(std::move(ends)) {}
    // Of almost equal size.
    [[nodiscard]] static Parts even(std::size_t total, int ranks);

    [[nodiscard]] int ranks() const { return static_cast<int>(ends_.size()); }
    [[nodiscard]] std::size_t begin(int rank) const { return rank == 0 ? 0 : end(rank - 1); }
    [[nodiscard]] std::size_t end(int rank) const { return ends_[static_cast<std::size_t>(rank)]; }
    [[nodiscard]] std::size_t size(int rank) const { return end(rank) - begin(rank); }
    [[nodiscard]] std::size_t total() const { return ends_.back(); }
    template <typename T>
    [[nodiscard]] std::span<T> of(int rank, std::span<T> vector) const {
        return vector.subspan(begin(rank), size(rank));
    }

  private:
    std::vector<std::size_t> ends_;
};

class Collective {
  public:
    virtual ~Collective() = default;
    [[nodiscard]] virtual std::string name() const = 0;
    [[nodiscard]] virtual int rank() const = 0;
    [[nodiscard]] virtual int size() const = 0;

    // The rank's own part of `vector` becomes the sum over all ranks; what its other parts hold is undefined.
    [[nodiscard]] virtual Status reduce_scatter(std::span<float> vector, const Parts& parts) = 0;
    // Every part of `vector` becomes that of the rank it belongs to.
    [[nodiscard]] virtual Status all_gather(std::span<float> vector, const Parts& parts) = 0;
    // Rank 0's values.
    [[nodiscard]] virtual Status broadcast(std::span<float> vector) = 0;

    // What each rank gave, by rank; at most kBytesMax each.
    static constexpr std::size_t kBytesMax = std::size_t{1} << 24U;
    [[nodiscard]] virtual Result<std::vector<Bytes>> all_gather(ByteView mine) = 0;
    // Rank 0's bytes. The others wait as long as rank 0 lives: it may have other things to do first.
    [[nodiscard]] virtual Result<Bytes> broadcast(ByteView bytes) = 0;

    [[nodiscard]] Status all_reduce(std::span<float> vector);
    // In double, for a few numbers.
    [[nodiscard]] Status sum(std::span<double> values);
    [[nodiscard]] Status barrier();
    // Ok if it is ok everywhere; otherwise everywhere the error of the first rank that has one, which is
    // named.
    [[nodiscard]] Status agree(const Status& mine);
};

// A rank without others.
[[nodiscard]] std::unique_ptr<Collective> make_alone();

// Meets the other ranks of `launch`. Floats go by NCCL with device cuda (which also picks the rank's card:
// before make_ops()), else by Open MPI under mpirun, else by TCP through rank 0. Errors (unavailable): a rank
// that does not come, a library that is not there; nobody waits for longer than `deadline_seconds`, here and
// in every operation.
[[nodiscard]] Result<std::unique_ptr<Collective>> make_collective(const Launch& launch,
                                                                  const std::string& device,
                                                                  double deadline_seconds);

}  // namespace Atoll::kernels
