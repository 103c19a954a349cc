// Everything that save_member() writes, in memory.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "federation/algorithm/algorithm.h"

namespace Atoll::federation::testing {

inline std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

class SavedMember {
  public:
    SavedMember() = default;
    SavedMember(Algorithm& algorithm, Worker& worker)
        : round_(algorithm.round()), step_(worker.step()), parameters_(copy(worker.parameters())) {
        for (const auto& vector : algorithm.state()) vectors_.emplace_back(vector.name, copy(vector.values));
    }
    void restore(Algorithm& algorithm, Worker& worker) const {
        for (const auto& [name, values] : vectors_) ASSERT_TRUE(algorithm.reserve(name));
        for (auto& vector : algorithm.state()) {
            for (const auto& [name, values] : vectors_) {
                if (name == vector.name) std::ranges::copy(values, vector.values.begin());
            }
        }
        algorithm.set_round(round_);
        std::ranges::copy(parameters_, worker.parameters().begin());
        worker.set_step(step_);
    }
    // Nothing was saved.
    [[nodiscard]] bool empty() const { return parameters_.empty(); }
    [[nodiscard]] std::uint64_t round() const { return round_; }
    [[nodiscard]] std::uint64_t step() const { return step_; }
    // Of the algorithm's state; empty if it has none of that name.
    [[nodiscard]] std::vector<float> vector(std::string_view name) const {
        for (const auto& [known, values] : vectors_) {
            if (known == name) return values;
        }
        return {};
    }

  private:
    std::uint64_t round_ = 0;
    std::uint64_t step_ = 0;
    std::vector<float> parameters_;
    std::vector<std::pair<std::string, std::vector<float>>> vectors_;
};

}  // namespace Atoll::federation::testing
