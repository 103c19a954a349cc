// DiZO (Tan et al. 2025, arXiv 2502.03304): MeZO, and every kappa steps the distance that each projected
// tensor has come is rescaled by a factor which is itself found by losses. With theta0 where training began,
// D_l = theta_l - theta0_l and n_l = |D_l|:
//
//   gamma_l = n_l
//   J times, each on a new batch:
//     u_l ~ N(0, 1), cut to +-(tau / eps) n_l
//     c = (L(gamma + eps u) - L(gamma - eps u)) / (2 eps)
//     gamma_l <- gamma_l - eta n_l c u_l, cut to [(1 - tau) n_l, (1 + tau) n_l]
//   theta_l <- theta0_l + gamma_l / (n_l + 1e-8) D_l
//
// A tensor that has not moved is left alone. The state is theta0 of the projected tensors.
#include <algorithm>
#include <cmath>

#include "base/rng.h"
#include "model/optim/entries.h"
#include "model/optim/mezo.h"

namespace Atoll::model {

namespace {

// A projected tensor: where it lies in the flat vector.
struct Tensor {
    std::size_t offset = 0;
    std::size_t size = 0;
};

// Queries, keys and values are three tensors (Llama) or thirds of one (GPT-2).
std::vector<Tensor> projected_tensors(const kernels::Layout& layout, const std::string& which) {
    const bool all = which == "matrices";
    const bool keys = which == "key_value";
    std::vector<Tensor> tensors;
    for (const kernels::TensorSlot& slot : layout.slots()) {
        const std::size_t third = slot.size / 3;
        if (all) {
            if (is_hidden_matrix(slot)) tensors.push_back({slot.offset, slot.size});
        } else if (slot.name.ends_with("attn.c_attn.weight")) {
            tensors.push_back({slot.offset + (keys ? third : 0), third});
            tensors.push_back({slot.offset + 2 * third, third});
        } else if (slot.name.ends_with(keys ? "k_proj.weight" : "q_proj.weight") ||
                   slot.name.ends_with("v_proj.weight")) {
            tensors.push_back({slot.offset, slot.size});
        }
    }
    return tensors;
}

class Dizo final : public Mezo {
  public:
    Dizo(kernels::Ops& ops, const kernels::Layout& layout, const OptimizerOptions& options)
        : Mezo(ops, layout, options), tensors_(projected_tensors(layout, options.projection_tensors)) {
        std::size_t size = 0;
        for (const Tensor& tensor : tensors_) size += tensor.size;
        start_ = kernels::FlatBuffer(size);
        way_ = kernels::FlatBuffer(size);
    }

    Result<ForwardReport> forward_step(const ForwardStep& step) override {
        if (started_ == 0) {
            for_tensors([&](std::size_t l, std::size_t at) {
                copy(step.parameters.data() + tensors_[l].offset, start_.data() + at, tensors_[l].size);
            });
            started_ = 1;
        }
        ATOLL_ASSIGN(ForwardReport report, Mezo::forward_step(step));
        if (step.step % options_.projection_interval == 0) {
            ATOLL_ASSIGN(const std::uint64_t tokens, project(step));
            report.tokens += tokens;
        }
        return report;
    }

    std::vector<StateVector> state() override {
        return {{"start", start_.span()}, {"started", std::span(&started_, 1)}};
    }

  private:
    // task(index of the tensor, where it begins in start_ and way_)
    template <typename Task>
    void for_tensors(const Task& task) {
        std::size_t at = 0;
        for (std::size_t l = 0; l < tensors_.size(); ++l) {
            task(l, at);
            at += tensors_[l].size;
        }
    }
    void copy(const float* from, float* to, std::size_t size) {
        ops_.fill(to, 0, size);
        ops_.axpy(1, from, to, size);
    }
    // theta_l <- theta0_l + gamma_l / (n_l + 1e-8) D_l
    void apply(std::span<float> parameters, const std::vector<double>& n, const std::vector<double>& gamma) {
        for_tensors([&](std::size_t l, std::size_t at) {
            if (n[l] == 0) return;
            float* const theta = parameters.data() + tensors_[l].offset;
            copy(start_.data() + at, theta, tensors_[l].size);
            ops_.axpy(static_cast<float>(gamma[l] / (n[l] + 1e-8)), way_.data() + at, theta,
                      tensors_[l].size);
        });
    }

    // Returns the tokens it drew.
    Result<std::uint64_t> project(const ForwardStep& step) {
        const std::size_t count = tensors_.size();
        std::vector<double> n(count);
        for_tensors([&](std::size_t l, std::size_t at) {
            copy(step.parameters.data() + tensors_[l].offset, way_.data() + at, tensors_[l].size);
            ops_.axpy(-1, start_.data() + at, way_.data() + at, tensors_[l].size);
            n[l] = std::sqrt(ops_.squared_norm(way_.data() + at, tensors_[l].size));
        });
        const double tau = options_.projection_limit;
        const double eps = options_.projection_perturbation;
        const Rng rng = Rng(options_.seed).split("projection", static_cast<std::uint64_t>(step.step));
        std::vector<double> gamma = n, u(count), moved(count);
        std::uint64_t tokens = 0;
        for (std::int64_t j = 0; j < options_.projection_iterations; ++j) {
            Rng draws = rng.split("iteration", static_cast<std::uint64_t>(j));
            for (std::size_t l = 0; l < count; ++l)
                u[l] = std::clamp(draws.normal(), -tau / eps * n[l], tau / eps * n[l]);
            const auto loss_at = [&](double sign, Draw draw) {
                for (std::size_t l = 0; l < count; ++l) moved[l] = gamma[l] + sign * eps * u[l];
                apply(step.parameters, n, moved);
                return step.objective.loss(draw);
            };
            const auto above = loss_at(1, Draw::next);
            const auto below = above.ok() ? loss_at(-1, Draw::again) : above;
            const double c = below.ok() ? (above->loss - below->loss) / (2 * eps) : 0;
            if (!below.ok() || !std::isfinite(c)) {
                apply(step.parameters, n, n);
                if (!below.ok()) return below.error();
                return Error{ErrorCode::failed,
                             "a loss is not finite while projecting: training diverged; lower "
                             "optimizer.learning_rate or optimizer.projection_limit"};
            }
            tokens += above->tokens;
            for (std::size_t l = 0; l < count; ++l) {
                gamma[l] = std::clamp(gamma[l] - options_.projection_rate * n[l] * c * u[l], (1 - tau) * n[l],
                                      (1 + tau) * n[l]);
            }
        }
        apply(step.parameters, n, gamma);
        return tokens;
    }

    std::vector<Tensor> tensors_;
    kernels::FlatBuffer start_;  // theta0 of the tensors, one after the other
    kernels::FlatBuffer way_;    // D, while projecting
    float started_ = 0;          // 1 once start_ is known
};

}  // namespace

std::unique_ptr<Optimizer> make_dizo(kernels::Ops& ops, const kernels::Layout& layout,
                                     const OptimizerOptions& options) {
    return std::make_unique<Dizo>(ops, layout, options);
}

}  // namespace Atoll::model
