#include "node/home.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "gossip/limits.h"

namespace Atoll::node {

namespace {

std::filesystem::path chosen_or(const std::string& configured, std::filesystem::path otherwise) {
    return configured.empty() ? std::move(otherwise) : std::filesystem::path(configured);
}

}  // namespace

Result<Home> Home::find(const std::string& chosen) {
    if (!chosen.empty()) return Home(chosen);
    if (const char* home = std::getenv("ATOLL_HOME"); home != nullptr && *home != '\0') return Home(home);
    if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
        return Home(std::filesystem::path(home) / ".atoll");
    }
    return Error{ErrorCode::invalid, "no home folder: give --home DIR or set ATOLL_HOME"};
}

std::filesystem::path Home::node_key(const Config& config) const {
    return chosen_or(config.local.identity, node_key());
}

std::filesystem::path Home::owner_key(const Config& config) const {
    return chosen_or(config.local.owner, owner_key());
}

std::filesystem::path Home::certificate(const Config& config, const Hash& id) const {
    return config.local.certificate.empty() ? run(id) / "certificate"
                                            : std::filesystem::path(config.local.certificate);
}

Result<gossip::Certificate> Home::load_certificate(const std::filesystem::path& path) const {
    ATOLL_ASSIGN(const Bytes bytes, read_file(path, gossip::Certificate::kBytes));
    auto certificate = gossip::Certificate::decode(bytes);
    if (!certificate) return certificate.error().within(path.string());
    return certificate;
}

std::vector<Bytes> Home::load_members(const Hash& id) const {
    // One record a line, in hexadecimal. A damaged line is skipped: the members heal it.
    std::vector<Bytes> records;
    const auto text = read_text(run(id) / "members");
    if (!text) return records;
    std::size_t begin = 0;
    while (begin < text->size() && records.size() < gossip::kMembersMax) {
        const std::size_t end = std::min(text->find('\n', begin), text->size());
        if (auto record = from_hex(std::string_view(*text).substr(begin, end - begin));
            record && !record->empty()) {
            records.push_back(std::move(*record));
        }
        begin = end + 1;
    }
    return records;
}

Status Home::save_members(const Hash& id, const std::vector<Bytes>& records) const {
    std::string text;
    for (const Bytes& record : records) text += to_hex(ByteView(record)) + "\n";
    return write_file(run(id) / "members", std::string_view(text));
}

Result<std::uint64_t> Home::next_incarnation(const Hash& id, std::uint64_t unix_seconds) const {
    // What a start counts from its own time in microseconds (push-sum's share numbers) begins some time after
    // it: where the clock can't tell the next start apart, it is set an hour after the last.
    constexpr std::uint64_t kHour = 3600;
    const auto path = run(id) / "incarnation";
    std::uint64_t last = 0;
    if (const auto text = read_text(path, 64)) {
        const char* const end = text->data() + text->size();
        if (std::from_chars(text->data(), end, last).ec != std::errc()) {
            return Error{
                ErrorCode::corrupt,
                fmt::format("{} holds no number: write into it the Unix time of this node's last start",
                            path.string())};
        }
    } else if (text.error().code != ErrorCode::not_found) {
        return text.error();
    }
    const std::uint64_t next = unix_seconds >= last ? std::max(unix_seconds, last + 1) : last + kHour;
    ATOLL_TRY(write_file(path, std::string_view(fmt::format("{}\n", next))));
    return next;
}

Status Home::save_running(const Running& running) const {
    const nlohmann::json object = {{"run", running.run},
                                   {"peer", running.peer},
                                   {"address", running.address},
                                   {"http", running.http},
                                   {"folder", running.folder}};
    return write_file(path_ / "node.json", std::string_view(object.dump() + "\n"));
}

Result<Home::Running> Home::load_running() const {
    const auto path = path_ / "node.json";
    const auto text = read_text(path, 1U << 16U);
    if (!text) {
        return Error{
            ErrorCode::not_found,
            fmt::format("no node has run from {}: start one with atoll node, or give --home or --http",
                        path_.string())};
    }
    const auto object = nlohmann::json::parse(*text, nullptr, false);
    const auto field = [&](const char* name) {
        return object.is_object() && object.contains(name) && object[name].is_string()
                   ? object[name].get<std::string>()
                   : "";
    };
    return Running{field("run"), field("peer"), field("address"), field("http"), field("folder")};
}

Result<gossip::Identity> load_or_create_identity(const std::filesystem::path& path, bool& created) {
    created = false;
    auto identity = gossip::Identity::load(path);
    if (identity || identity.error().code != ErrorCode::not_found) return identity;
    gossip::Identity fresh = gossip::Identity::generate();
    ATOLL_TRY(fresh.save(path));
    created = true;
    return fresh;
}

}  // namespace Atoll::node
