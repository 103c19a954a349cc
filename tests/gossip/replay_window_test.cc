#include "gossip/replay_window.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/rng.h"
#include "gossip/wire.h"

namespace Atoll::gossip {
namespace {

// What the window promises, with a set.
class NaiveWindow {
  public:
    bool accept(std::uint64_t sequence) {
        if (!seen_.empty() && *seen_.rbegin() >= sequence &&
            *seen_.rbegin() - sequence >= ReplayWindow::kBits)
            return false;
        return seen_.insert(sequence).second;
    }

  private:
    std::set<std::uint64_t> seen_;
};

TEST(ReplayWindow, Agrees_with_a_set_on_random_sequences) {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        Rng rng(seed);
        ReplayWindow window;
        NaiveWindow naive;
        std::uint64_t around = seed % 2 == 0 ? 0 : rng.bits64() >> 8U;
        for (int i = 0; i < 3000; ++i) {
            const std::uint64_t jump = rng.below(100);
            if (jump == 0) around += rng.below(5000);
            around += rng.below(3);
            const std::uint64_t back = rng.below(jump < 5 ? 3000 : 50);
            const std::uint64_t sequence = around - std::min(back, around);
            ASSERT_EQ(window.accept(sequence), naive.accept(sequence))
                << "seed " << seed << ", " << i << ": " << sequence;
        }
    }
}

TEST(ReplayWindow, Accepts_each_number_once_at_the_edges) {
    ReplayWindow window;
    EXPECT_TRUE(window.accept(0));
    EXPECT_FALSE(window.accept(0));
    EXPECT_TRUE(window.accept(1023));
    EXPECT_FALSE(window.accept(0));
    EXPECT_TRUE(window.accept(1));
    EXPECT_TRUE(window.accept(1024));
    EXPECT_FALSE(window.accept(0));
    EXPECT_TRUE(window.accept(~0ULL));
    EXPECT_FALSE(window.accept(~0ULL));
    EXPECT_TRUE(window.accept(~0ULL - 1023));
    EXPECT_FALSE(window.accept(~0ULL - 1024));
}

TEST(ReplayWindow, A_new_incarnation_shuts_out_the_messages_of_the_old_one) {
    ReplayWindow window;
    for (std::uint64_t i = 0; i < 10; ++i) EXPECT_TRUE(window.accept(first_sequence(100) + i));
    EXPECT_TRUE(window.accept(first_sequence(101)));
    for (std::uint64_t i = 0; i < 20; ++i) EXPECT_FALSE(window.accept(first_sequence(100) + i));
}

}  // namespace
}  // namespace Atoll::gossip
