// One token that asks long work to finish its step, save and return. Set by signals, by the demo, by tests.
#pragma once

#include <atomic>

namespace Atoll {

class StopToken {
  public:
    void request() { requested_.store(true, std::memory_order_relaxed); }
    [[nodiscard]] bool requested() const { return requested_.load(std::memory_order_relaxed); }

  private:
    std::atomic<bool> requested_{false};
};

}  // namespace Atoll
