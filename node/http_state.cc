#include "node/http_state.h"

#include <fmt/core.h>
#include <httplib.h>

#include <thread>

namespace Atoll::node {

namespace {

constexpr int kTimeoutSeconds = 5;
constexpr const char* kJson = "application/json";
constexpr const char* kText = "text/plain; charset=utf-8";

struct HostPort {
    std::string host;
    int port = 0;
};

Result<HostPort> split(const std::string& address) {
    const auto colon = address.rfind(':');
    HostPort parts{address.substr(0, colon), 0};
    bool good =
        colon != std::string::npos && colon > 0 && colon + 1 < address.size() && address.size() - colon <= 6;
    for (std::size_t i = colon + 1; good && i < address.size(); ++i) {
        good = address[i] >= '0' && address[i] <= '9';
        parts.port = parts.port * 10 + (address[i] - '0');
    }
    if (!good || parts.port > 65535) {
        return Error{ErrorCode::invalid,
                     fmt::format("local.http = {}: expected host:port, as 127.0.0.1:8080", address)};
    }
    if (parts.host.front() == '[' && parts.host.back() == ']')
        parts.host = parts.host.substr(1, parts.host.size() - 2);
    return parts;
}

}  // namespace

class HttpState::Impl {
  public:
    Status open(const std::string& address, const NodeBoard& board) {
        ATOLL_ASSIGN(const HostPort parts, split(address));
        // The library's default, SO_REUSEPORT, would let two nodes share a port unnoticed.
        server_.set_socket_options([](socket_t socket) {
            const int yes = 1;
            setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        });
        server_.set_read_timeout(kTimeoutSeconds, 0);
        server_.set_write_timeout(kTimeoutSeconds, 0);
        server_.set_payload_max_length(0);  // nobody has anything to tell us
        server_.new_task_queue = [] {
            return new httplib::ThreadPool(2);
        };  // owned by the server, its interface
        server_.Get("/api/state", [&board](const httplib::Request&, httplib::Response& response) {
            response.set_content(state_json(board.read()), kJson);
        });
        server_.Get("/metrics", [&board](const httplib::Request&, httplib::Response& response) {
            response.set_content(metrics_text(board.read()), "text/plain; version=0.0.4; charset=utf-8");
        });
        server_.Get("/healthz", [](const httplib::Request&, httplib::Response& response) {
            response.set_content("ok\n", kText);
        });
        server_.Get("/readyz", [&board](const httplib::Request&, httplib::Response& response) {
            const std::string phase = board.read().phase;
            const bool ready = phase == "training" || phase == "finishing" || phase == "done";
            response.status = ready ? 200 : 503;
            response.set_content(phase + "\n", kText);
        });
        int port = parts.port;
        if (port == 0) {
            port = server_.bind_to_any_port(parts.host.c_str());
        } else if (!server_.bind_to_port(parts.host.c_str(), port)) {
            port = -1;
        }
        if (port <= 0) {
            return Error{
                ErrorCode::failed,
                fmt::format(
                    "cannot serve the state on {}: in use, or no address of this machine; choose another "
                    "local.http, or an empty one for none",
                    address)};
        }
        address_ = fmt::format(
            "{}:{}", parts.host.find(':') == std::string::npos ? parts.host : "[" + parts.host + "]", port);
        thread_ = std::thread([this] { server_.listen_after_bind(); });
        return {};
    }
    ~Impl() {
        if (!thread_.joinable()) return;
        while (!server_.is_running())
            std::this_thread::yield();  // stop() is lost on a server that has yet to begin
        server_.stop();
        thread_.join();
    }
    Impl() = default;
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;
    [[nodiscard]] const std::string& address() const { return address_; }

  private:
    httplib::Server server_;
    std::string address_;
    std::thread thread_;
};

Result<std::unique_ptr<HttpState>> HttpState::start(const std::string& address, const NodeBoard& board) {
    auto impl = std::make_unique<Impl>();
    ATOLL_TRY(impl->open(address, board));
    return std::unique_ptr<HttpState>(new HttpState(std::move(impl)));
}

HttpState::HttpState(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpState::~HttpState() = default;
const std::string& HttpState::address() const { return impl_->address(); }

Result<std::string> http_get(const std::string& address, const std::string& path) {
    ATOLL_ASSIGN(const HostPort parts, split(address));
    httplib::Client client(parts.host, parts.port);
    client.set_connection_timeout(kTimeoutSeconds, 0);
    client.set_read_timeout(kTimeoutSeconds, 0);
    const auto response = client.Get(path.c_str());
    if (!response) {
        return Error{ErrorCode::unavailable,
                     fmt::format("no node answers on http://{}{}: is it running?", address, path)};
    }
    if (response->status != 200) {
        return Error{ErrorCode::failed,
                     fmt::format("http://{}{} answered {}", address, path, response->status)};
    }
    return response->body;
}

}  // namespace Atoll::node
