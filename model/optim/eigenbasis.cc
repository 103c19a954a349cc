#include "model/optim/eigenbasis.h"

#include <Eigen/Eigenvalues>
#include <Eigen/QR>
#include <algorithm>
#include <numeric>
#include <vector>

namespace Atoll::model {

namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Eigen::Map<Matrix> view(kernels::FlatBuffer& buffer, std::int64_t side) {
    return {buffer.data(), side, side};
}

}  // namespace

Eigenbasis::Eigenbasis(std::int64_t side)
    : side_(side),
      covariance_(static_cast<std::size_t>(side * side)),
      basis_(static_cast<std::size_t>(side * side)),
      scratch_(static_cast<std::size_t>(side * side)) {}

void Eigenbasis::decompose() {
    if (identity()) return;
    const Eigen::SelfAdjointEigenSolver<Matrix> solver(view(covariance_, side_));
    view(basis_, side_) = solver.eigenvectors().rowwise().reverse();  // Eigen's values ascend
}

void Eigenbasis::refresh(kernels::Ops& ops, std::span<float> second, std::int64_t rows, std::int64_t columns,
                         Side axis) {
    if (identity()) return;
    ops.matmul({.a = covariance_.data(),
                .b = basis_.data(),
                .c = scratch_.data(),
                .m = side_,
                .n = side_,
                .k = side_});
    const auto basis = view(basis_, side_);
    const auto product = view(scratch_, side_);
    const Eigen::VectorXf quotients = basis.cwiseProduct(product).colwise().sum();
    std::vector<Eigen::Index> order(static_cast<std::size_t>(side_));
    std::iota(order.begin(), order.end(), Eigen::Index{0});
    std::ranges::stable_sort(order, [&](auto a, auto b) { return quotients(a) > quotients(b); });

    Matrix ordered(side_, side_);
    for (std::size_t i = 0; i < order.size(); ++i) {
        ordered.col(static_cast<Eigen::Index>(i)) = product.col(order[i]);
    }
    const Eigen::HouseholderQR<Matrix> factors(ordered);
    view(basis_, side_) = factors.householderQ() * Matrix::Identity(side_, side_);

    Eigen::Map<Matrix> moments(second.data(), rows, columns);
    const Matrix before = moments;
    for (std::size_t i = 0; i < order.size(); ++i) {
        const auto to = static_cast<Eigen::Index>(i);
        if (axis == Side::rows) {
            moments.row(to) = before.row(order[i]);
        } else {
            moments.col(to) = before.col(order[i]);
        }
    }
}

}  // namespace Atoll::model
