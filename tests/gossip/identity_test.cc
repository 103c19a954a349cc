#include "gossip/identity.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/files.h"
#include "tests/gossip/trust_fixture.h"

namespace Atoll::gossip {
namespace {

using testing::identity_named;

class KeyFile : public ::testing::Test {
  protected:
    KeyFile() {
        const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
        folder_ = std::filesystem::temp_directory_path() /
                  (std::string("atoll_key_") + test->name() + std::to_string(::getpid()));
        std::filesystem::remove_all(folder_);
        path_ = folder_ / "node.key";
    }
    ~KeyFile() override { std::filesystem::remove_all(folder_); }
    void set_mode(unsigned mode) { ASSERT_EQ(::chmod(path_.c_str(), mode), 0); }

    std::filesystem::path folder_;
    std::filesystem::path path_;
};

TEST_F(KeyFile, Comes_back_as_the_same_identity) {
    const Identity identity = Identity::generate();
    ASSERT_TRUE(identity.save(path_).ok());
    const auto loaded = Identity::load(path_);
    ASSERT_TRUE(loaded.ok()) << loaded.error().message;
    EXPECT_EQ(loaded->id(), identity.id());
    EXPECT_TRUE(std::ranges::equal(loaded->seed(), identity.seed()));
}

TEST_F(KeyFile, Is_readable_by_its_owner_only_and_nothing_else_is_left_behind) {
    ASSERT_TRUE(identity_named("a").save(path_).ok());
    struct stat info {};
    ASSERT_EQ(::stat(path_.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0600U);
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
    const std::string text = read_text(path_).value();
    EXPECT_NE(text.find("# peer " + identity_named("a").id().text()), std::string::npos);
    EXPECT_NE(text.find("# fingerprint " + fingerprint(identity_named("a").id())), std::string::npos);
}

TEST_F(KeyFile, Is_never_overwritten) {
    ASSERT_TRUE(identity_named("a").save(path_).ok());
    const std::string before = read_text(path_).value();
    const Status again = identity_named("b").save(path_);
    ASSERT_FALSE(again.ok());
    EXPECT_EQ(again.error().code, ErrorCode::refused);
    EXPECT_NE(again.error().message.find(path_.string()), std::string::npos);
    EXPECT_EQ(read_text(path_).value(), before);
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
}

TEST_F(KeyFile, Open_to_others_is_refused) {
    ASSERT_TRUE(identity_named("a").save(path_).ok());
    for (const unsigned mode : {0640U, 0604U, 0610U, 0602U, 0666U}) {
        set_mode(mode);
        const auto loaded = Identity::load(path_);
        ASSERT_FALSE(loaded.ok()) << mode;
        EXPECT_EQ(loaded.error().code, ErrorCode::refused);
        EXPECT_NE(loaded.error().message.find("chmod 600"), std::string::npos);
    }
    set_mode(0400);
    EXPECT_TRUE(Identity::load(path_).ok());
}

TEST_F(KeyFile, Missing_is_not_found) {
    const auto loaded = Identity::load(path_);
    ASSERT_FALSE(loaded.ok());
    EXPECT_EQ(loaded.error().code, ErrorCode::not_found);
}

TEST_F(KeyFile, Every_damaged_character_and_every_truncation_is_noticed) {
    ASSERT_TRUE(identity_named("a").save(path_).ok());
    const std::string text = read_text(path_).value();
    const std::size_t key = text.find("ATOLL-SECRET-KEY-1:");
    ASSERT_NE(key, std::string::npos);
    const auto refused = [&](const std::string& content) {
        EXPECT_TRUE(write_file(path_, content, 0600).ok());
        return !Identity::load(path_).ok();
    };
    for (std::size_t i = key; i + 1 < text.size(); ++i) {
        std::string damaged = text;
        damaged[i] = damaged[i] == 'A' ? 'B' : 'A';
        EXPECT_TRUE(refused(damaged)) << i;
        EXPECT_TRUE(refused(text.substr(0, i))) << i;
    }
    EXPECT_TRUE(refused(""));
    EXPECT_TRUE(refused(text + text.substr(key)));                 // two keys
    EXPECT_TRUE(refused(fmt::format("{:#>5000}\n{}", "", text)));  // too large
    EXPECT_FALSE(refused(text.substr(key)));                       // comments are not needed
}

TEST(Identity, Signs_for_one_purpose_and_one_text_only) {
    const Identity a = identity_named("a");
    const Bytes text{std::byte{1}, std::byte{2}, std::byte{3}};
    const Signature signature = a.sign(context::kMessage, text);
    EXPECT_TRUE(verify(a.id(), context::kMessage, text, signature));
    EXPECT_FALSE(verify(a.id(), context::kGrant, text, signature));
    EXPECT_FALSE(verify(identity_named("b").id(), context::kMessage, text, signature));
    EXPECT_FALSE(verify(a.id(), context::kMessage, ByteView(text).first(2), signature));
    for (std::size_t i = 0; i < signature.size() * 8; ++i) {
        Signature flipped = signature;
        flipped[i / 8] ^= std::byte{1} << (i % 8);
        EXPECT_FALSE(verify(a.id(), context::kMessage, text, flipped)) << i;
    }
}

TEST(Identity, Ed25519_of_RFC_8032_test_1) {
    const auto seed = from_hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").value();
    EXPECT_EQ(Identity::from_seed(seed).id().text(),
              "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
}

TEST(Identity, Curve_key_of_the_secret_is_the_curve_key_of_the_id) {
    for (const char* name : {"a", "b", "c"}) {
        const Identity identity = identity_named(name);
        const auto from_id = curve_public_key(identity.id());
        ASSERT_TRUE(from_id.ok());
        EXPECT_EQ(identity.curve_public_key(), *from_id);
        EXPECT_EQ(identity.curve_secret_key().size(), 32U);
    }
    EXPECT_NE(identity_named("a").curve_public_key(), identity_named("b").curve_public_key());
}

TEST(Identity, An_id_that_is_no_key_has_no_curve_key) {
    EXPECT_FALSE(curve_public_key(PeerId{}).ok());  // a point of small order
}

TEST(Fingerprint, Is_four_groups_of_four_and_differs_between_keys) {
    const std::string a = fingerprint(identity_named("a").id());
    ASSERT_EQ(a.size(), 19U);
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i] == '-', i % 5 == 4);
    EXPECT_NE(a, fingerprint(identity_named("b").id()));
    EXPECT_EQ(a, fingerprint(identity_named("a").id()));
}

TEST(PeerIdText, Goes_there_and_back) {
    const PeerId id = identity_named("a").id();
    EXPECT_EQ(peer_id_from_text(id.text()).value(), id);
    EXPECT_FALSE(peer_id_from_text(id.text().substr(2)).ok());
    EXPECT_FALSE(peer_id_from_text("hello").ok());
}

}  // namespace
}  // namespace Atoll::gossip
