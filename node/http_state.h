// The node's pages on loopback: GET /api/state, /healthz, /readyz, /metrics. They show; nothing can be
// controlled.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "node/node_state.h"

namespace Atoll::node {

class HttpState {
  public:
    // `address`: host:port, port 0 for any free one. Errors: invalid (address), failed (port in use). `board`
    // outlives it.
    [[nodiscard]] static Result<std::unique_ptr<HttpState>> start(const std::string& address,
                                                                  const NodeBoard& board);
    ~HttpState();
    HttpState(const HttpState&) = delete;
    HttpState& operator=(const HttpState&) = delete;
    [[nodiscard]] const std::string& address() const;  // "127.0.0.1:40123"

  private:
    class Impl;
    explicit HttpState(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

// GET http://<address><path>. Errors: unavailable: nobody answers; failed: another answer than 200.
[[nodiscard]] Result<std::string> http_get(const std::string& address, const std::string& path);

}  // namespace Atoll::node
