// The entries of the table in registry.cc.
#pragma once

#include "federation/algorithm/algorithm.h"

namespace Atoll::federation {

[[nodiscard]] std::unique_ptr<Algorithm> make_diloco(const RunConfig& config, std::size_t parameters);
[[nodiscard]] std::unique_ptr<Algorithm> make_streaming_diloco(const RunConfig& config,
                                                               std::size_t parameters);
[[nodiscard]] Status check_streaming_diloco(const RunConfig& config);
[[nodiscard]] std::unique_ptr<Algorithm> make_async_diloco(const RunConfig& config, std::size_t parameters);
[[nodiscard]] Status check_async_diloco(const RunConfig& config);
[[nodiscard]] std::unique_ptr<Algorithm> make_decoupled_diloco(const RunConfig& config,
                                                               std::size_t parameters);
[[nodiscard]] Status check_decoupled_diloco(const RunConfig& config);
// dsgd, dsgdm and decentralized_adam: one algorithm, told apart by what it asks of the optimizer.
[[nodiscard]] std::unique_ptr<Algorithm> make_local_optimizer_gossip(const RunConfig& config,
                                                                     std::size_t parameters);
[[nodiscard]] Status check_dsgd(const RunConfig& config);
[[nodiscard]] Status check_dsgdm(const RunConfig& config);
[[nodiscard]] Status check_decentralized_adam(const RunConfig& config);
[[nodiscard]] std::unique_ptr<Algorithm> make_qg_dsgdm(const RunConfig& config, std::size_t parameters);
[[nodiscard]] Status check_qg_dsgdm(const RunConfig& config);
[[nodiscard]] std::unique_ptr<Algorithm> make_gradient_tracking(const RunConfig& config,
                                                                std::size_t parameters);
[[nodiscard]] Status check_gradient_tracking(const RunConfig& config);
[[nodiscard]] std::unique_ptr<Algorithm> make_decomfl(const RunConfig& config, std::size_t parameters);
[[nodiscard]] Status check_decomfl(const RunConfig& config);
[[nodiscard]] std::unique_ptr<Algorithm> make_fedkseed(const RunConfig& config, std::size_t parameters);
[[nodiscard]] Status check_fedkseed(const RunConfig& config);

}  // namespace Atoll::federation
