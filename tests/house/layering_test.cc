// The architecture, enforced: every #include points down the layers, and third-party headers stay in .cc
// files.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

const std::map<std::string, std::set<std::string>> kMayInclude = {
    {"base", {"base"}},
    {"kernels", {"base", "kernels"}},
    {"model", {"base", "kernels", "model"}},
    {"gossip", {"base", "kernels", "gossip"}},
    {"federation", {"base", "kernels", "model", "gossip", "federation"}},
    {"node", {"base", "kernels", "model", "gossip", "federation", "node"}},
    {"sims", {"base", "kernels", "model", "gossip", "federation", "sims"}},
};

// Of kernels, gossip sees the flat vector, the thread pool and what codecs and messages compute with
// (rounding, selection, hashes, one plain matrix product): nothing that knows a model.
const std::regex kGossipKernels("kernels/(flat|parallel|cpu/gemm|(hash|quantize|sparse)/.*)\\.h");

// Inside of the ZeroMQ adapter: seen by its own .cc files only, so its headers may name ZeroMQ's types.
const std::set<std::string> kZmqAdapter = {"node/network/sockets.h", "node/network/link.h"};

struct Include {
    std::string file;
    int line = 0;
    std::string target;
    bool quoted = false;
};

std::vector<Include> includes_of(const std::string& folder) {
    std::vector<Include> found;
    const std::regex pattern(R"(^\s*#\s*include\s*([<"])([^">]+)[">])");
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(ATOLL_SOURCE_DIR) / folder)) {
        const std::string extension = entry.path().extension();
        if (extension != ".h" && extension != ".cc" && extension != ".cu" && extension != ".cuh") continue;
        std::ifstream stream(entry.path());
        int line = 0;
        for (std::string text; std::getline(stream, text);) {
            ++line;
            std::smatch match;
            if (std::regex_search(text, match, pattern)) {
                found.push_back(
                    {fs::relative(entry.path(), ATOLL_SOURCE_DIR), line, match[2], match[1] == "\""});
            }
        }
    }
    return found;
}

std::string where(const Include& include) {
    return include.file + ":" + std::to_string(include.line) + " includes " + include.target;
}

TEST(Layering, Includes_point_down_only) {
    for (const auto& [folder, allowed] : kMayInclude) {
        for (const auto& include : includes_of(folder)) {
            if (!include.quoted) continue;
            const std::string target = include.target.substr(0, include.target.find('/'));
            EXPECT_TRUE(allowed.count(target) == 1)
                << where(include) << ", which " << folder << " may not see";
            if (folder == "gossip" && target == "kernels") {
                EXPECT_TRUE(std::regex_match(include.target, kGossipKernels)) << where(include);
            }
        }
    }
}

TEST(Layering, Headers_include_no_third_party) {
    const std::regex foreign(
        R"(^(zmq|sodium|capnp|kj|spdlog|toml|CLI|nlohmann|httplib|prometheus|dnnl|hwy|pcre2|simgrid|xbt|cuda|nccl|mpi|gtest|benchmark|zlib).*)");
    for (const auto& [folder, allowed] : kMayInclude) {
        for (const auto& include : includes_of(folder)) {
            const bool is_header = fs::path(include.file).extension() == ".h";
            // Highway's dispatch needs its headers in files that it re-includes for each instruction set.
            if (!is_header || include.file.find("-inl.h") != std::string::npos) continue;
            if (kZmqAdapter.count(include.file) == 1 && include.target == "zmq.hpp") continue;
            EXPECT_FALSE(std::regex_match(include.target, foreign)) << where(include);
        }
    }
}

TEST(Layering, What_knows_ZeroMQ_stays_among_itself) {
    for (const auto& [folder, allowed] : kMayInclude) {
        for (const auto& include : includes_of(folder)) {
            if (kZmqAdapter.count(include.target) == 0) continue;
            EXPECT_EQ(include.file.rfind("node/network/", 0), 0U) << where(include);
        }
    }
}

TEST(Layering, What_knows_CUDA_stays_among_itself) {
    const std::regex foreign("cuda.*|cublas.*|nccl.*");
    for (const auto& [folder, allowed] : kMayInclude) {
        for (const auto& include : includes_of(folder)) {
            const bool knows = include.quoted ? fs::path(include.target).extension() == ".cuh"
                                              : std::regex_match(include.target, foreign);
            if (knows) {
                EXPECT_EQ(include.file.rfind("kernels/cuda/", 0), 0U) << where(include);
            }
        }
    }
}

TEST(Layering, Algorithms_touch_no_clock_thread_lock_or_socket) {
    const std::regex forbidden(
        R"(<(thread|mutex|shared_mutex|condition_variable|future|chrono|semaphore|stop_token|sys/socket\.h|ctime|time\.h)>)");
    for (const std::string folder : {"gossip", "federation"}) {
        for (const auto& include : includes_of(folder)) {
            EXPECT_FALSE(std::regex_match("<" + include.target + ">", forbidden))
                << where(include) << ": ask the Host";
        }
    }
}

TEST(Layering, Every_header_starts_with_its_purpose_and_a_guard) {
    for (const auto& [folder, allowed] : kMayInclude) {
        for (const auto& entry : fs::recursive_directory_iterator(fs::path(ATOLL_SOURCE_DIR) / folder)) {
            const bool is_header = entry.path().extension() == ".h" || entry.path().extension() == ".cuh";
            if (!is_header || entry.path().string().find("-inl.h") != std::string::npos) continue;
            std::ifstream stream(entry.path());
            std::string first;
            std::getline(stream, first);
            EXPECT_EQ(first.rfind("// ", 0), 0U)
                << entry.path() << " does not begin with a sentence about itself";
            const std::string rest((std::istreambuf_iterator<char>(stream)), {});
            EXPECT_NE(rest.find("#pragma once"), std::string::npos) << entry.path();
        }
    }
}

}  // namespace
