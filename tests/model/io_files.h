// A folder for one test, its files, and damage done to them.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/files.h"
#include "base/rng.h"

namespace Atoll::tests {

// A fresh folder, removed at the end of the test.
class FolderTest : public ::testing::Test {
  protected:
    FolderTest() {
        const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
        folder_ = std::filesystem::temp_directory_path() / ("atoll_" + std::to_string(::getpid()) + "_" +
                                                            info->test_suite_name() + "_" + info->name());
        std::filesystem::remove_all(folder_);
        std::filesystem::create_directories(folder_);
    }
    ~FolderTest() override { std::filesystem::remove_all(folder_); }

    std::filesystem::path folder_;
};

inline std::string slurp(const std::filesystem::path& path) {
    auto text = read_text(path, std::uint64_t{1} << 30U);
    EXPECT_TRUE(text.ok()) << (text.ok() ? "" : text.error().message);
    return text.ok() ? *text : std::string();
}

inline void spill(const std::filesystem::path& path, const std::string& text) {
    std::filesystem::create_directories(path.parent_path());
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file.write(text.data(), static_cast<std::streamsize>(text.size()));
    ASSERT_TRUE(file.good()) << path;
}

// `text` with one of: a flipped bit, a byte overwritten, a byte removed or inserted, a cut, a run of zeros, a
// run doubled.
inline std::string damage(std::string text, Rng& rng) {
    if (text.empty()) return "x";
    const auto at = static_cast<std::size_t>(rng.below(text.size()));
    switch (rng.below(7)) {
        case 0: text[at] = static_cast<char>(text[at] ^ (1 << rng.below(8))); break;
        case 1: text[at] = static_cast<char>(rng.below(256)); break;
        case 2: text.erase(at, 1); break;
        case 3: text.insert(at, 1, static_cast<char>(rng.below(256))); break;
        case 4: text.resize(at); break;
        case 5: text.replace(at, std::min<std::size_t>(8, text.size() - at), 8, '\0'); break;
        default: text.insert(at, text.substr(at, 16)); break;
    }
    return text;
}

}  // namespace Atoll::tests
