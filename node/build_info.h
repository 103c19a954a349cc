// What this program was built from: for --version, run folders and bug reports.
#pragma once

#include <string_view>

namespace Atoll::node {

struct BuildInfo {
    std::string_view version;
    std::string_view commit;
    std::string_view compiler;
    std::string_view flags;
    bool cuda = false;
    bool mpi = false;
};

[[nodiscard]] const BuildInfo& build_info();

}  // namespace Atoll::node
