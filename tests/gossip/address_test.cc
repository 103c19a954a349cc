#include "gossip/address.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

namespace Atoll::gossip {
namespace {

TEST(Address, Every_spelling_has_one_canonical_form) {
    const std::pair<const char*, const char*> cases[] = {
        {"example.org:4444", "tcp://example.org:4444"},
        {"tcp://example.org:4444", "tcp://example.org:4444"},
        {"192.0.2.1:1", "tcp://192.0.2.1:1"},
        {"[2001:db8::1]:65535", "tcp://[2001:db8::1]:65535"},
        {"tcp://[::1]:80", "tcp://[::1]:80"},
        {"/ip4/192.0.2.1/tcp/31337", "tcp://192.0.2.1:31337"},
        {"/dns4/example.org/tcp/31337", "tcp://example.org:31337"},
        {"/ip6/2001:db8::1/tcp/31337", "tcp://[2001:db8::1]:31337"},
    };
    for (const auto& [text, canonical] : cases) {
        const auto address = parse_address(text);
        ASSERT_TRUE(address.ok()) << address.error().message;
        EXPECT_EQ(address->text(), canonical);
        EXPECT_EQ(parse_address(address->text()).value(), *address);
    }
}

TEST(Address, What_is_none_is_refused_with_the_text_in_the_message) {
    for (const char* text : {"",
                             "host",
                             "host:",
                             ":80",
                             "host:0",
                             "host:65536",
                             "host:8a",
                             "host:-1",
                             "ho st:80",
                             "2001:db8::1:80",
                             "[2001:db8::1]",
                             "[host]:80",
                             "udp://host:80",
                             "tcp://host:80/x",
                             "/ip4/192.0.2.1/udp/1",
                             "/ip4/192.0.2.1/tcp",
                             "/ip6/192.0.2.1/tcp/1",
                             "/ip4/::1/tcp/1",
                             "/onion/abc/tcp/1",
                             "host:80\n"}) {
        const auto address = parse_address(text);
        ASSERT_FALSE(address.ok()) << text;
        EXPECT_EQ(address.error().code, ErrorCode::invalid);
        EXPECT_NE(address.error().message.find(text), std::string::npos);
    }
    const auto of_length = [](std::size_t host) { return fmt::format("{:a>{}}:80", "", host); };
    EXPECT_FALSE(parse_address(of_length(200)).ok());
    // Short enough as typed, too long once it is written with its scheme.
    EXPECT_FALSE(parse_address(of_length(kAddressBytesMax - 3)).ok());
    EXPECT_TRUE(parse_address(of_length(kAddressBytesMax - 9)).ok());
}

}  // namespace
}  // namespace Atoll::gossip
