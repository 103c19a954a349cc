// The error of a name that is in no table of ours: what was expected, and the nearest name.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/options.h"
#include "base/result.h"

namespace Atoll::gossip {

template <typename Entry>
[[nodiscard]] Error unknown_name(std::string_view family, std::string_view name,
                                 std::span<const Entry> entries) {
    std::vector<std::string> names;
    std::string list;
    for (const Entry& entry : entries) {
        names.emplace_back(entry.name);
        list += (list.empty() ? "" : ", ") + names.back();
    }
    const std::string close = nearest(name, names);
    return {ErrorCode::invalid, "unknown " + std::string(family) + " '" + std::string(name) +
                                    "': expected one of " + list +
                                    (close.empty() ? "" : "; did you mean " + close + "?")};
}

}  // namespace Atoll::gossip
