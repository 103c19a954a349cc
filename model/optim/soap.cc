// SOAP (Vyas et al. 2024, arXiv 2409.11321, algorithm 3) for matrices inside the network, with g the scaled
// gradient. The first step only sets L = (1 - beta2) g g^T and R = (1 - beta2) g^T g, and takes their
// eigenbases Q_L, Q_R. Then, for t = 1, 2, ...
//   g' = Q_L^T g Q_R        m = beta1 m + (1 - beta1) g        v = beta2 v + (1 - beta2) g'^2
//   m' = Q_L^T m Q_R
//   theta -= lr ( sqrt(1 - beta2^t) / (1 - beta1^t) Q_L ( m' / (sqrt(v) + epsilon) ) Q_R^T
//                 + weight_decay theta )
//   L = beta2 L + (1 - beta2) g g^T        R = beta2 R + (1 - beta2) g^T g
//   every f steps: columns of Q ordered by diag(Q^T L Q), descending, v with them; Q = QR(L Q)
// A side longer than precondition_side_max keeps Q = identity. Everything else follows AdamW.
#include <algorithm>

#include "model/optim/adam_factors.h"
#include "model/optim/eigenbasis.h"
#include "model/optim/entries.h"

namespace Atoll::model {

namespace {

class Soap final : public Optimizer {
  public:
    Soap(kernels::Ops& ops, const kernels::Layout& layout, const OptimizerOptions& options)
        : ops_(ops), options_(options), layout_(layout), m_(layout.size()), v_(layout.size()) {
        std::size_t largest = 0;
        for (const kernels::TensorSlot& slot : layout_.slots()) {
            if (!is_hidden_matrix(slot)) continue;
            const auto basis = [&](std::int64_t side) {
                return side <= options.precondition_side_max ? Eigenbasis(side) : Eigenbasis();
            };
            matrices_.push_back({slot, basis(slot.shape[0]), basis(slot.shape[1])});
            largest = std::max(largest, slot.size);
        }
        for (kernels::FlatBuffer* buffer : {&gradient_, &rotated_, &mean_, &half_}) {
            *buffer = kernels::FlatBuffer(largest);
        }
    }

    void step(const OptimizerStep& step) override {
        const OptimizerOptions& o = options_;
        for (const kernels::TensorSlot& slot : layout_.slots()) {
            if (is_hidden_matrix(slot)) continue;
            const DecayRange range{slot.offset, slot.size, slot.shape.size() >= 2};
            ops_.update(adam_update(step, range, o.beta1, o.beta2, o.epsilon, o.weight_decay,
                                    m_.data() + slot.offset, v_.data() + slot.offset));
        }
        for (Matrix& matrix : matrices_) step_matrix(step, matrix);
    }

    std::vector<StateVector> state() override {
        std::vector<StateVector> vectors = {{"m", m_.span()}, {"v", v_.span()}};
        for (Matrix& matrix : matrices_) {
            for (const auto& [side, basis] : {std::pair{".left", &matrix.left}, {".right", &matrix.right}}) {
                if (basis->identity()) continue;
                vectors.push_back({matrix.slot.name + side + ".covariance", basis->covariance()});
                vectors.push_back({matrix.slot.name + side + ".basis", basis->basis()});
            }
        }
        return vectors;
    }

  private:
    struct Matrix {
        kernels::TensorSlot slot;
        Eigenbasis left, right;
        [[nodiscard]] std::int64_t rows() const { return slot.shape[0]; }
        [[nodiscard]] std::int64_t columns() const { return slot.shape[1]; }
    };

    void step_matrix(const OptimizerStep& step, Matrix& matrix) {
        const OptimizerOptions& o = options_;
        const kernels::TensorSlot& slot = matrix.slot;
        std::copy_n(step.gradients.data() + slot.offset, slot.size, gradient_.data());
        ops_.scale(static_cast<float>(step.gradient_scale), gradient_.data(), slot.size);
        const std::int64_t t = step.step - 1;
        if (t > 0) {
            move(step, matrix, t);
        }
        accumulate(matrix);
        if (t == 0) {
            matrix.left.decompose();
            matrix.right.decompose();
        } else if (t % o.precondition_interval == 0) {
            const auto second = v_.span().subspan(slot.offset, slot.size);
            matrix.left.refresh(ops_, second, matrix.rows(), matrix.columns(), Eigenbasis::Side::rows);
            matrix.right.refresh(ops_, second, matrix.rows(), matrix.columns(), Eigenbasis::Side::columns);
        }
    }

    void move(const OptimizerStep& step, const Matrix& matrix, std::int64_t t) {
        const OptimizerOptions& o = options_;
        const kernels::TensorSlot& slot = matrix.slot;
        float* const m = m_.data() + slot.offset;
        ops_.scale(static_cast<float>(o.beta1), m, slot.size);
        ops_.axpy(static_cast<float>(1 - o.beta1), gradient_.data(), m, slot.size);
        rotate(matrix, gradient_.data(), rotated_.data(), true);
        rotate(matrix, m, mean_.data(), true);
        ops_.update(kernels::PreconditionUpdate{
            .at = {.parameters = nullptr, .gradients = rotated_.data(), .size = slot.size},
            .m = mean_.data(),
            .v = v_.data() + slot.offset,
            .out = rotated_.data(),
            .beta = static_cast<float>(o.beta2),
            .epsilon = static_cast<float>(o.epsilon)});
        rotate(matrix, rotated_.data(), mean_.data(), false);
        float* const parameters = step.parameters.data() + slot.offset;
        const double correction = std::sqrt(bias_correction(o.beta2, t)) / bias_correction(o.beta1, t);
        ops_.axpy(static_cast<float>(-step.learning_rate * correction), mean_.data(), parameters, slot.size);
        ops_.scale(static_cast<float>(1 - step.learning_rate * o.weight_decay), parameters, slot.size);
    }

    // to = Q_L^T from Q_R (into the eigenbasis), or Q_L from Q_R^T (back).
    void rotate(const Matrix& matrix, const float* from, float* to, bool into) {
        const std::int64_t rows = matrix.rows(), columns = matrix.columns();
        const auto size = static_cast<std::size_t>(rows * columns);
        const float* half = from;
        if (!matrix.left.identity()) {
            ops_.matmul({.a = matrix.left.basis().data(),
                         .b = from,
                         .c = matrix.right.identity() ? to : half_.data(),
                         .m = rows,
                         .n = columns,
                         .k = rows,
                         .transpose_a = into});
            if (matrix.right.identity()) return;
            half = half_.data();
        }
        if (matrix.right.identity()) {
            std::copy_n(from, size, to);
            return;
        }
        ops_.matmul({.a = half,
                     .b = matrix.right.basis().data(),
                     .c = to,
                     .m = rows,
                     .n = columns,
                     .k = columns,
                     .transpose_b = !into});
    }

    void accumulate(Matrix& matrix) {
        const std::int64_t rows = matrix.rows(), columns = matrix.columns();
        const auto blend = [&](Eigenbasis& side, std::int64_t length, std::int64_t inner, bool transpose) {
            if (side.identity()) return;
            kernels::FlatBuffer& product = side.scratch();
            ops_.matmul({.a = gradient_.data(),
                         .b = gradient_.data(),
                         .c = product.data(),
                         .m = length,
                         .n = length,
                         .k = inner,
                         .transpose_a = transpose,
                         .transpose_b = !transpose});
            const auto covariance = side.covariance();
            ops_.scale(static_cast<float>(options_.beta2), covariance.data(), covariance.size());
            ops_.axpy(static_cast<float>(1 - options_.beta2), product.data(), covariance.data(),
                      covariance.size());
        };
        blend(matrix.left, rows, columns, false);
        blend(matrix.right, columns, rows, true);
    }

    kernels::Ops& ops_;
    OptimizerOptions options_;
    kernels::Layout layout_;
    std::vector<Matrix> matrices_;
    kernels::FlatBuffer m_, v_;
    kernels::FlatBuffer gradient_, rotated_, mean_, half_;
};

}  // namespace

std::unique_ptr<Optimizer> make_soap(kernels::Ops& ops, const kernels::Layout& layout,
                                     const OptimizerOptions& options) {
    return std::make_unique<Soap>(ops, layout, options);
}

}  // namespace Atoll::model
