#include "node/observe/chart_js.h"

// The assembler copies the file into the read-only data: no generated source, no time to compile it.
asm(".section .rodata\n"
    ".global atoll_chart_js_begin\n"
    ".global atoll_chart_js_end\n"
    "atoll_chart_js_begin: .incbin \"" ATOLL_CHART_JS
    "\"\n"
    "atoll_chart_js_end: .byte 0\n"
    ".previous\n");

extern "C" const char atoll_chart_js_begin[];
extern "C" const char atoll_chart_js_end[];

namespace Atoll::node {

std::string_view chart_js() {
    return {atoll_chart_js_begin, static_cast<std::size_t>(atoll_chart_js_end - atoll_chart_js_begin)};
}

}  // namespace Atoll::node
