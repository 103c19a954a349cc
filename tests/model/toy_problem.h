// A quadratic bowl over a layout of one matrix and one vector: what optimizers are tested on.
#pragma once

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "kernels/flat.h"
#include "kernels/normals.h"
#include "model/objective.h"
#include "model/optim/optimizer.h"

namespace Atoll::model {

// loss = sum of curvature_i (x_i - 0.5)^2 / 2, curvatures from 0.1 to 2.
class ToyProblem {
  public:
    ToyProblem() {
        layout.add("matrix", {6, 16});
        layout.add("vector", {5});
        Rng rng(11);
        for (std::size_t i = 0; i < layout.size(); ++i) {
            curvature_.push_back(0.1 + 1.9 * rng.uniform());
            start_.push_back(static_cast<float>(rng.normal()));
        }
    }

    kernels::Layout layout;

    [[nodiscard]] kernels::FlatBuffer start() const {
        kernels::FlatBuffer x(layout.size());
        for (const auto& slot : layout.slots()) {
            for (std::size_t i = slot.offset; i < slot.offset + slot.size; ++i) x.span()[i] = start_[i];
        }
        return x;
    }
    template <typename T>
    [[nodiscard]] double loss(std::span<const T> x) const {
        double sum = 0;
        for (const auto& slot : layout.slots()) {
            for (std::size_t i = slot.offset; i < slot.offset + slot.size; ++i) {
                const double distance = static_cast<double>(x[i]) - 0.5;
                sum += curvature_[i] * distance * distance / 2;
            }
        }
        return sum;
    }
    template <typename T>
    [[nodiscard]] T slope(std::size_t i, T x) const {
        return static_cast<T>(curvature_[i]) * (x - static_cast<T>(0.5));
    }
    // Steps `from`..`to` (from 1) of `optimizer`, in place.
    void descend(Optimizer& optimizer, std::span<float> x, std::int64_t from, std::int64_t to,
                 double learning_rate) const {
        kernels::FlatBuffer gradient(layout.size());
        for (std::int64_t step = from; step <= to; ++step) {
            const std::span<const float> at = optimizer.gradient_point(x);
            for (const auto& slot : layout.slots()) {
                for (std::size_t i = slot.offset; i < slot.offset + slot.size; ++i) {
                    gradient.span()[i] = slope(i, at[i]);
                }
            }
            if (optimizer.wants_curvature(step)) optimizer.curvature(gradient.span());
            optimizer.step({.parameters = x,
                            .gradients = gradient.span(),
                            .learning_rate = learning_rate,
                            .gradient_scale = 0.5,
                            .step = step});
        }
    }
    // The same in double: `update` is the paper's step for one coordinate.
    template <typename Update>
    [[nodiscard]] std::vector<double> trajectory_end(std::int64_t steps, Update update) const {
        std::vector<double> x(start_.begin(), start_.end());
        for (const auto& slot : layout.slots()) {
            for (std::size_t i = slot.offset; i < slot.offset + slot.size; ++i) {
                for (std::int64_t step = 1; step <= steps; ++step) {
                    x[i] = update(i, step, x[i], 0.5 * slope(i, x[i]), slot.shape.size() >= 2);
                }
            }
        }
        return x;
    }

    // The same of a forward-only one; false if a step failed.
    [[nodiscard]] inline bool descend_forward(Optimizer& optimizer, std::span<float> x, std::int64_t from,
                                              std::int64_t to, double learning_rate) const;

  private:
    std::vector<double> curvature_;
    std::vector<float> start_;
};

// The bowl as forward-only optimizers see it. All batches are the same, and each counts as a token.
class ToyObjective final : public Objective {
  public:
    ToyObjective(const ToyProblem& toy, std::span<float> x) : toy_(toy), x_(x) {}
    double scale = 1;
    std::uint64_t batches = 0;  // drawn

    Result<BatchLoss> loss(Draw draw) override {
        if (draw == Draw::next) ++batches;
        return BatchLoss{scale * toy_.loss<float>(x_), 1};
    }
    void add_normals(std::span<const kernels::NormalTerm> terms) override {
        for (const auto& run : toy_.layout.runs())
            kernels::add_normals(terms, run.offset, x_.data() + run.offset, run.size);
    }

  private:
    const ToyProblem& toy_;
    std::span<float> x_;
};

bool ToyProblem::descend_forward(Optimizer& optimizer, std::span<float> x, std::int64_t from, std::int64_t to,
                                 double learning_rate) const {
    ToyObjective objective(*this, x);
    for (std::int64_t step = from; step <= to; ++step) {
        if (!optimizer.forward_step({objective, x, learning_rate, 0, step}).ok()) return false;
    }
    return true;
}

}  // namespace Atoll::model
