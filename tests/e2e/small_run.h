// Data and settings of runs that take a second, and their losses.
#pragma once

#include <fstream>
#include <vector>

#include "tests/e2e/run_atoll.h"

namespace Atoll::e2e {

class SmallRun : public RunAtoll {
  protected:
    static constexpr const char* kSmall =
        " --data data --threads 1 --seed 3 --set model.layers=2 --set model.width=32 --set model.heads=2 "
        "--set "
        "model.kv_heads=2 --set model.head_dim=16 --set model.inner=64 --set model.context=32 --set "
        "optimizer.batch_sequences=8 --set local.log_steps=1 --quiet ";

    void prepare() const {
        std::string text;
        for (int i = 0; i < 600; ++i)
            text += "line " + std::to_string(i * 7919 % 1000) + " of a text to learn from\n";
        write("text.txt", text);
        const Said said = atoll("data prepare --input text.txt --out data --held-out 0.1 --quiet");
        ASSERT_EQ(said.exit_code, 0) << said.error;
    }
    // Of each step that metrics.jsonl of the run tells.
    [[nodiscard]] std::vector<double> losses(const std::string& run) const {
        std::vector<double> losses;
        std::ifstream lines(folder / run / "metrics.jsonl");
        for (std::string line; std::getline(lines, line);) {
            const auto event = nlohmann::json::parse(line, nullptr, false);
            if (event.is_object() && event["kind"] == "step") losses.push_back(event["loss"].get<double>());
        }
        return losses;
    }
    // Gradients of several ranks are summed in another order than in one: fp32 rounding, some 1e-7 a step.
    void expect_same_losses(const std::string& one, const std::string& other, std::size_t steps) const {
        const auto a = losses(one), b = losses(other);
        ASSERT_EQ(a.size(), steps);
        ASSERT_EQ(b.size(), steps);
        for (std::size_t i = 0; i < steps; ++i)
            EXPECT_NEAR(a[i], b[i], 1e-5 * a[i]) << other << ", step " << i + 1;
    }
};

}  // namespace Atoll::e2e
