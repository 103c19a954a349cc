// The documents hold together: every relative link in a Markdown file leads to a file.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <string>

namespace {

namespace fs = std::filesystem;

void check_links(const fs::path& file) {
    std::ifstream stream(file);
    const std::regex link(R"(\]\(([^)#\s]+)(#[^)]*)?\))");
    int number = 0;
    for (std::string line; std::getline(stream, line);) {
        ++number;
        for (auto it = std::sregex_iterator(line.begin(), line.end(), link); it != std::sregex_iterator();
             ++it) {
            const std::string target = (*it)[1];
            if (target.find("://") != std::string::npos) continue;
            EXPECT_TRUE(fs::exists(file.parent_path() / target))
                << file << ":" << number << " links to " << target;
        }
    }
}

TEST(Documents, Relative_links_lead_somewhere) {
    const fs::path root(ATOLL_SOURCE_DIR);
    check_links(root / "README.md");
    int files = 0;
    for (const auto& entry : fs::recursive_directory_iterator(root / "docs")) {
        if (entry.path().extension() != ".md") continue;
        check_links(entry.path());
        ++files;
    }
    EXPECT_GT(files, 5);
}

}  // namespace
