// The other side of libfake_nccl.so: what a test asks of it.
#pragma once

#include <string>
#include <vector>

namespace Atoll::fakes {

// Looked up in the library by the names below.
class FakeNccl {
  public:
    virtual ~FakeNccl() = default;
    // Forgets calls and failures.
    virtual void reset() = 0;
    // What a rank has called, with its arguments, in order. A buffer is named by its distance from the first
    // one of the call's group.
    [[nodiscard]] virtual std::vector<std::string> calls(int rank) = 0;
    // From now on the function returns `result` at that rank.
    virtual void fail(const std::string& function, int rank, int result) = 0;
    // Streams of that rank are busy for ever, and its communicator has this asynchronous error.
    virtual void hang(int rank, int asynchronous_error) = 0;
};

inline constexpr const char* kFakeNcclSymbol = "fake_nccl";
using GetFakeNccl = FakeNccl* (*)();

}  // namespace Atoll::fakes
