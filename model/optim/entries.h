// The entries of the table in registry.cc.
#pragma once

#include "model/optim/optimizer.h"

namespace Atoll::model {

[[nodiscard]] std::unique_ptr<Optimizer> make_adamw(kernels::Ops& ops, const kernels::Layout& layout,
                                                    const OptimizerOptions& options);
[[nodiscard]] std::unique_ptr<Optimizer> make_sgd(kernels::Ops& ops, const kernels::Layout& layout,
                                                  const OptimizerOptions& options);

[[nodiscard]] std::unique_ptr<Optimizer> make_lion(kernels::Ops& ops, const kernels::Layout& layout,
                                                   const OptimizerOptions& options);
[[nodiscard]] std::unique_ptr<Optimizer> make_signum(kernels::Ops& ops, const kernels::Layout& layout,
                                                     const OptimizerOptions& options);
[[nodiscard]] std::unique_ptr<Optimizer> make_adopt(kernels::Ops& ops, const kernels::Layout& layout,
                                                    const OptimizerOptions& options);
[[nodiscard]] std::unique_ptr<Optimizer> make_ademamix(kernels::Ops& ops, const kernels::Layout& layout,
                                                       const OptimizerOptions& options);
[[nodiscard]] std::unique_ptr<Optimizer> make_mars(kernels::Ops& ops, const kernels::Layout& layout,
                                                   const OptimizerOptions& options);
[[nodiscard]] std::unique_ptr<Optimizer> make_schedule_free(kernels::Ops& ops, const kernels::Layout& layout,
                                                            const OptimizerOptions& options);
[[nodiscard]] std::unique_ptr<Optimizer> make_sophia(kernels::Ops& ops, const kernels::Layout& layout,
                                                     const OptimizerOptions& options);
[[nodiscard]] std::unique_ptr<Optimizer> make_prodigy(kernels::Ops& ops, const kernels::Layout& layout,
                                                      const OptimizerOptions& options);
[[nodiscard]] std::unique_ptr<Optimizer> make_adam_mini(kernels::Ops& ops, const kernels::Layout& layout,
                                                        const OptimizerOptions& options);
[[nodiscard]] std::unique_ptr<Optimizer> make_muon(kernels::Ops& ops, const kernels::Layout& layout,
                                                   const OptimizerOptions& options);
[[nodiscard]] std::unique_ptr<Optimizer> make_d_muon(kernels::Ops& ops, const kernels::Layout& layout,
                                                     const OptimizerOptions& options);
[[nodiscard]] std::unique_ptr<Optimizer> make_soap(kernels::Ops& ops, const kernels::Layout& layout,
                                                   const OptimizerOptions& options);
[[nodiscard]] std::unique_ptr<Optimizer> make_mezo(kernels::Ops& ops, const kernels::Layout& layout,
                                                   const OptimizerOptions& options);
[[nodiscard]] std::unique_ptr<Optimizer> make_dizo(kernels::Ops& ops, const kernels::Layout& layout,
                                                   const OptimizerOptions& options);

}  // namespace Atoll::model
