// Ten losses of one fixed run per family: a change of any number in the training path shows as a diff of
// tests/golden/losses.txt. WRITE_GOLDEN=1 rewrites it (into the source tree; look at the diff before
// committing).
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "model/trainer.h"
#include "tests/model/text_batches.h"

namespace Atoll::model {
namespace {

constexpr const char* kPath = ATOLL_SOURCE_DIR "/tests/golden/losses.txt";
// Other CPUs add in another order; ten steps of this run amplify that to some 1e-5.
constexpr double kTolerance = 2e-4;

std::vector<double> ten_losses(const std::string& family) {
    const auto ops = kernels::make_cpu_ops(2);
    TextBatches data(20);
    TrainerOptions options;
    options.model = {.family = family,
                     .vocabulary = 128,
                     .context = 32,
                     .layers = 2,
                     .heads = 4,
                     .kv_heads = 4,
                     .width = 64,
                     .inner = 160,
                     .head_dim = 16};
    options.learning_rate = 3e-3;
    options.schedule = "cosine";
    options.schedule_options = {.steps = 10, .warmup_steps = 3};
    options.batch_sequences = 4;
    options.accumulation = 2;
    auto trainer = Trainer::make(*ops, data, options);
    EXPECT_TRUE(trainer.ok());
    std::vector<double> losses;
    for (int i = 0; i < 10; ++i) losses.push_back((*trainer)->inner_step()->loss);
    return losses;
}

TEST(GoldenLosses, Ten_steps_of_each_family_are_as_recorded) {
    const std::vector<std::string> families = {"gpt2", "llama"};
    if (std::getenv("WRITE_GOLDEN") != nullptr) {
        std::ofstream out(kPath);
        for (const std::string& family : families) {
            out << family;
            for (const double loss : ten_losses(family)) out << fmt::format(" {:.6f}", loss);
            out << '\n';
        }
        ASSERT_TRUE(out.flush()) << "cannot write " << kPath;
    }
    std::ifstream in(kPath);
    ASSERT_TRUE(in) << kPath << " is missing";
    for (const std::string& family : families) {
        std::string line;
        ASSERT_TRUE(std::getline(in, line));
        std::istringstream words(line);
        std::string name;
        ASSERT_TRUE(words >> name);
        ASSERT_EQ(name, family);
        const std::vector<double> losses = ten_losses(family);
        for (std::size_t i = 0; i < losses.size(); ++i) {
            double golden = 0;
            ASSERT_TRUE(words >> golden) << kPath << " has too few losses of " << family;
            EXPECT_NEAR(losses[i], golden, kTolerance) << family << " step " << i + 1;
        }
    }
}

}  // namespace
}  // namespace Atoll::model
