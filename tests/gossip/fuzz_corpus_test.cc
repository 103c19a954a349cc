// Replays the fuzzers' corpus, and keeps it complete: every kind of message has its seed.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>

#include "base/files.h"
#include "base/rng.h"
#include "tests/fuzz/targets.h"
#include "tests/gossip/message_samples.h"

namespace Atoll::gossip {
namespace {

const std::filesystem::path kCorpus = std::filesystem::path(ATOLL_SOURCE_DIR) / "tests/fuzz/corpus";

std::vector<Bytes> corpus(const std::string& name) {
    std::map<std::string, Bytes> files;  // in order of name
    for (const auto& entry : std::filesystem::directory_iterator(kCorpus / name)) {
        files[entry.path().filename().string()] = read_file(entry.path(), 1U << 20U).value();
    }
    std::vector<Bytes> inputs;
    for (auto& [file, bytes] : files) inputs.push_back(std::move(bytes));
    return inputs;
}

// Every input, and 300 mutations of each.
void replay(const std::string& name, void (*target)(ByteView)) {
    const std::vector<Bytes> inputs = corpus(name);
    ASSERT_FALSE(inputs.empty());
    Rng rng(11);
    for (const Bytes& input : inputs) {
        target(input);
        for (int i = 0; i < 300; ++i) {
            Bytes mutated = input;
            for (std::uint64_t flips = 1 + rng.below(4); flips > 0 && !mutated.empty(); --flips) {
                mutated[rng.below(mutated.size())] = static_cast<std::byte>(rng.bits32());
            }
            mutated.resize(mutated.size() -
                           std::min<std::size_t>(mutated.size(), rng.below(3) == 0 ? rng.below(40) : 0));
            target(mutated);
        }
    }
}

TEST(FuzzCorpus, Addresses) { replay("address", fuzz::address); }
TEST(FuzzCorpus, Codec_payloads) { replay("codec_payload", fuzz::codec_payload); }
TEST(FuzzCorpus, Envelopes) { replay("envelope", fuzz::envelope); }
TEST(FuzzCorpus, Invites) { replay("invite", fuzz::invite); }
TEST(FuzzCorpus, Member_records) { replay("member_record", fuzz::member_record); }

// Every codec has a seed: its encoding of 300 values, as the target reads it.
TEST(FuzzCorpus, Every_codec_has_a_seed_that_still_decodes) {
    constexpr std::size_t kCount = 300;
    for (std::size_t i = 0; i < codecs().size(); ++i) {
        const auto codec = codecs()[i].make({});
        const std::filesystem::path path = kCorpus / "codec_payload" / std::string(codecs()[i].name);
        if (std::getenv("WRITE_GOLDEN") != nullptr && !std::filesystem::exists(path)) {
            std::vector<float> values(kCount);
            Rng rng(3);
            for (float& value : values) value = static_cast<float>(rng.normal());
            Bytes seed = {std::byte{kCount & 255}, std::byte{kCount >> 8}, static_cast<std::byte>(i)};
            seed.resize(3 + codec->encoded_bytes(kCount));
            (void)codec->encode(values, {}, std::span(seed).subspan(3), {}, {});
            std::filesystem::create_directories(path.parent_path());
            ASSERT_TRUE(write_file(path, seed).ok());
        }
        const auto seed = read_file(path, 1U << 20U);
        ASSERT_TRUE(seed.ok()) << seed.error().message << " (run with WRITE_GOLDEN=1)";
        std::vector<float> out(kCount);
        EXPECT_TRUE(codec->decode(ByteView(*seed).subspan(3), out, 1, false).ok()) << codecs()[i].name;
    }
}

// Old messages must stay readable: a change of the schema that breaks them shows here. WRITE_GOLDEN=1 writes
// the seeds of new kinds.
TEST(FuzzCorpus, Every_kind_has_a_seed_that_still_reads) {
    const Identity sender = Identity::from_seed(blake2b(as_byte_view("fuzzer")));
    const Hash run{};
    for (const testing::Sample& sample : testing::message_samples()) {
        const std::filesystem::path path = kCorpus / "envelope" / std::string(kind_name(sample.body));
        if (std::getenv("WRITE_GOLDEN") != nullptr && !std::filesystem::exists(path)) {
            const Bytes frame =
                encode_message(sender, run, 1, sample.body, {sample.payload_bytes, std::nullopt}).value();
            ASSERT_TRUE(write_file(path, ByteView(frame).subspan(layout::kBody)).ok());
        }
        const auto body = read_file(path, 1U << 20U);
        ASSERT_TRUE(body.ok()) << body.error().message << " (run with WRITE_GOLDEN=1)";
        Bytes frame = encode_message(sender, run, 1, MixWithdraw{}).value();
        frame.resize(layout::kBody);
        frame.insert(frame.end(), body->begin(), body->end());
        std::ranges::copy(sender.sign(context::kMessage, layout::signed_part(frame)),
                          frame.begin() + layout::kSignature);
        const Decoded decoded = decode_message(frame, run, sender.id());
        ASSERT_TRUE(decoded.envelope) << decoded.reason;
        EXPECT_EQ(kind_name(decoded.envelope->body), kind_name(sample.body));
        EXPECT_EQ(decoded.envelope->payload.bytes, sample.payload_bytes);
    }
}

}  // namespace
}  // namespace Atoll::gossip
