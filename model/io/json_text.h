// Checks of JSON that came from outside, before it is trusted.
#pragma once

#include <string_view>

#include "base/result.h"

namespace Atoll::model {

// `text` is JSON in UTF-8, an object at the top, and no object in it has a key twice (which parsers resolve
// differently). Errors (corrupt): says what and at which byte; `origin` stands in front.
[[nodiscard]] Status check_json_object(std::string_view text, std::string_view origin);

}  // namespace Atoll::model
