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
// DiLoCo with other settings: these bring them.
void muloco_defaults(RunConfig& config);
[[nodiscard]] Status check_muloco(const RunConfig& config);
void sparseloco_defaults(RunConfig& config);
[[nodiscard]] Status check_sparseloco(const RunConfig& config);
// noloco and noloco_cascade, told apart by their topology.
[[nodiscard]] std::unique_ptr<Algorithm> make_noloco(const RunConfig& config, std::size_t parameters);
void noloco_defaults(RunConfig& config);
void noloco_cascade_defaults(RunConfig& config);
[[nodiscard]] Status check_noloco(const RunConfig& config);
[[nodiscard]] std::unique_ptr<Algorithm> make_demo(const RunConfig& config, std::size_t parameters);
void demo_defaults(RunConfig& config);
[[nodiscard]] Status check_demo(const RunConfig& config);
[[nodiscard]] std::unique_ptr<Algorithm> make_sparta(const RunConfig& config, std::size_t parameters);
void sparta_defaults(RunConfig& config);
[[nodiscard]] Status check_sparta(const RunConfig& config);
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

// fedavg, fedavgm, fedadam, fedyogi, fedprox, fedau, mifa, scaffold, focus: around a server.
[[nodiscard]] std::unique_ptr<Algorithm> make_federated(const RunConfig& config, std::size_t parameters);
[[nodiscard]] Status check_federated(const RunConfig& config);

[[nodiscard]] std::unique_ptr<Algorithm> make_data_parallel(const RunConfig& config, std::size_t parameters);
[[nodiscard]] std::unique_ptr<Algorithm> make_acco(const RunConfig& config, std::size_t parameters);
[[nodiscard]] std::unique_ptr<Algorithm> make_delayed_update(const RunConfig& config, std::size_t parameters);
[[nodiscard]] std::unique_ptr<Algorithm> make_distributed_lion(const RunConfig& config,
                                                               std::size_t parameters);
[[nodiscard]] Status check_distributed_lion(const RunConfig& config);
[[nodiscard]] Status check_sharded(const RunConfig& config);

}  // namespace Atoll::federation
