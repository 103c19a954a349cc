#include "gossip/address.h"

#include <algorithm>
#include <charconv>
#include <vector>

namespace Atoll::gossip {

namespace {
Error not_an_address(std::string_view text, const std::string& why) {
    return {ErrorCode::invalid,
            "'" + std::string(text.substr(0, kAddressBytesMax)) + "' is not an address: " + why +
                " (expected host:port, [v6]:port, tcp://host:port or /dns4/HOST/tcp/PORT)"};
}

bool is_name_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
}
bool is_v6_character(char c) {
    return (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || (c >= '0' && c <= '9') || c == ':' || c == '.';
}

Result<Address> checked(std::string_view text, std::string_view host, std::string_view port) {
    if (host.empty()) return not_an_address(text, "the host is missing");
    const bool v6 = host.find(':') != std::string_view::npos;
    if (!std::ranges::all_of(host, v6 ? is_v6_character : is_name_character)) {
        return not_an_address(text, "'" + std::string(host) + "' is not a host name or IP address");
    }
    unsigned number = 0;
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (port.empty() || error != std::errc{} || end != port.data() + port.size() || number == 0 ||
        number > 65535) {
        return not_an_address(text, "'" + std::string(port) + "' is not a port from 1 to 65535");
    }
    Address address{std::string(host), static_cast<std::uint16_t>(number)};
    if (address.text().size() > kAddressBytesMax) return not_an_address(text, "it is too long");
    return address;
}

Result<Address> parse_multiaddr(std::string_view text) {
    std::vector<std::string_view> parts;
    for (std::size_t begin = 1; begin <= text.size();) {
        const std::size_t end = std::min(text.find('/', begin), text.size());
        parts.push_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    if (parts.size() != 4 || parts[2] != "tcp")
        return not_an_address(text, "a multiaddr must end in /tcp/PORT");
    const auto& protocol = parts[0];
    const bool is_name = protocol == "ip4" || protocol == "dns" || protocol == "dns4" || protocol == "dns6";
    const bool is_v6 = protocol == "ip6";
    if ((!is_name && !is_v6) || is_v6 != (parts[1].find(':') != std::string_view::npos)) {
        return not_an_address(text, "unknown kind /" + std::string(protocol) + "/" + std::string(parts[1]));
    }
    return checked(text, parts[1], parts[3]);
}
}  // namespace

std::string Address::text() const {
    const bool v6 = host.find(':') != std::string::npos;
    return "tcp://" + (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<Address> parse_address(std::string_view text) {
    static constexpr std::string_view kScheme = "tcp://";
    if (text.size() > kAddressBytesMax) return not_an_address(text, "it is too long");
    if (text.starts_with('/')) return parse_multiaddr(text);
    std::string_view rest = text.starts_with(kScheme) ? text.substr(kScheme.size()) : text;
    if (rest.starts_with('[')) {
        const std::size_t close = rest.find("]:");
        if (close == std::string_view::npos)
            return not_an_address(text, "the ']:PORT' after the IPv6 address is missing");
        const std::string_view host = rest.substr(1, close - 1);
        if (host.find(':') == std::string_view::npos)
            return not_an_address(text, "brackets are for IPv6 addresses");
        return checked(text, host, rest.substr(close + 2));
    }
    const std::size_t colon = rest.rfind(':');
    if (colon == std::string_view::npos) return not_an_address(text, "the port is missing");
    const std::string_view host = rest.substr(0, colon);
    if (host.find(':') != std::string_view::npos)
        return not_an_address(text, "an IPv6 address needs brackets");
    return checked(text, host, rest.substr(colon + 1));
}

}  // namespace Atoll::gossip
