#include "model/data/english.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/files.h"

namespace Atoll::model {
namespace {

// The packages are part of the set-up (./dev), so their absence is a failure, not a reason to pass.
TEST(EnglishText, Is_large_and_is_english) {
    const auto folder = std::filesystem::path(testing::TempDir()) / "atoll_english_test";
    const auto files = write_english_text(folder);
    ASSERT_TRUE(files.ok()) << files.error().message;
    std::string text;
    for (const auto& file : *files) text += read_text(file, 1ULL << 30U).value();
    EXPECT_GT(text.size(), 30'000'000U);
    std::size_t count = 0;
    for (auto at = text.find(" the "); at != std::string::npos; at = text.find(" the ", at + 1)) ++count;
    // One word in fifteen or twenty of English prose is "the".
    EXPECT_GT(count, text.size() / 300);
    std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace Atoll::model
