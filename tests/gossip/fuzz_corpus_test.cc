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
TEST(FuzzCorpus, Envelopes) { replay("envelope", fuzz::envelope); }
TEST(FuzzCorpus, Invites) { replay("invite", fuzz::invite); }
TEST(FuzzCorpus, Member_records) { replay("member_record", fuzz::member_record); }

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
