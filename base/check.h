// ATOLL_CHECK: an assertion that is always compiled in. For bugs in our own code, never for input from
// outside.
#pragma once

#include <cstdio>
#include <cstdlib>

#define ATOLL_CHECK(condition)                                                                              \
    do {                                                                                                    \
        if (!(condition)) {                                                                                 \
            std::fprintf(stderr, "atoll: bug: %s does not hold (%s:%d)\n", #condition, __FILE__, __LINE__); \
            std::abort();                                                                                   \
        }                                                                                                   \
    } while (false)
