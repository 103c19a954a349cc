// The entries of the table in method.cc.
#pragma once

#include "federation/federated/method.h"

namespace Atoll::federation {

template <typename Real>
using MadeMethod = std::unique_ptr<Method<Real>>;

template <typename Real>
[[nodiscard]] MadeMethod<Real> make_fedavg(const MethodOptions& options);
template <typename Real>
[[nodiscard]] MadeMethod<Real> make_fedavgm(const MethodOptions& options);
template <typename Real>
[[nodiscard]] MadeMethod<Real> make_fedadam(const MethodOptions& options);
template <typename Real>
[[nodiscard]] MadeMethod<Real> make_fedyogi(const MethodOptions& options);
template <typename Real>
[[nodiscard]] MadeMethod<Real> make_fedprox(const MethodOptions& options);
template <typename Real>
[[nodiscard]] MadeMethod<Real> make_fedau(const MethodOptions& options);
template <typename Real>
[[nodiscard]] MadeMethod<Real> make_mifa(const MethodOptions& options);
template <typename Real>
[[nodiscard]] MadeMethod<Real> make_scaffold(const MethodOptions& options);
template <typename Real>
[[nodiscard]] MadeMethod<Real> make_focus(const MethodOptions& options);

}  // namespace Atoll::federation

// Both number types of an entry, at the end of its file.
#define ATOLL_BOTH_METHODS(Class, make)                                        \
    template <typename Real>                                                   \
    std::unique_ptr<Method<Real>> make(const MethodOptions& options) {         \
        return std::make_unique<Class<Real>>(options);                         \
    }                                                                          \
    template std::unique_ptr<Method<float>> make<float>(const MethodOptions&); \
    template std::unique_ptr<Method<double>> make<double>(const MethodOptions&)
