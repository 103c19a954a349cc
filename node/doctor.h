// Checks of the machine: what it can do for a node, what stands in the way, and how to mend it.
#pragma once

#include <string>
#include <vector>

namespace Atoll::node {

struct CheckResult {
    std::string name;
    std::string status;  // "ok", "warn" (works, but slower or with limits) or "fail" (a node cannot run)
    std::string detail;
    std::string fix;  // what to do; empty when there is nothing to do
};

// Every check of the table in doctor.cc, in order; none takes longer than a second.
[[nodiscard]] std::vector<CheckResult> examine_machine();

}  // namespace Atoll::node
