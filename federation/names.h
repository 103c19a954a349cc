// Looking a name up in a family's table, with an error that helps.
#pragma once

#include <fmt/core.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/options.h"
#include "base/result.h"

namespace Atoll::federation {

// The entry called `name`. Errors (invalid): unknown; names the key, the value, all entries and the nearest.
template <typename Entry>
[[nodiscard]] Result<const Entry*> find_entry(std::string_view key, std::string_view name,
                                              std::span<const Entry> entries) {
    std::vector<std::string> names;
    std::string list;
    for (const Entry& entry : entries) {
        if (entry.name == name) return &entry;
        names.emplace_back(entry.name);
        list += (list.empty() ? "" : ", ") + names.back();
    }
    const std::string close = nearest(name, names);
    return Error{ErrorCode::invalid, fmt::format("{} = {}: expected one of {}{}", key, name, list,
                                                 close.empty() ? "" : "; did you mean " + close + "?")};
}

}  // namespace Atoll::federation
