#include "base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <vector>

namespace Atoll::log {

namespace {

spdlog::level::level_enum to_spdlog(Level level) {
    switch (level) {
        case Level::debug: return spdlog::level::debug;
        case Level::info: return spdlog::level::info;
        case Level::warn: return spdlog::level::warn;
        case Level::error: return spdlog::level::err;
        case Level::off: break;
    }
    return spdlog::level::off;
}

struct Settings {
    Level level = Level::warn;
    std::string file;
    std::string name;
};

// The process's log is the one global of this code base: lines come from every thread and library, and
// spdlog's sinks are made for that.
Settings& settings() {
    static Settings instance;
    return instance;
}

std::shared_ptr<spdlog::logger>& logger() {
    static std::shared_ptr<spdlog::logger> instance = [] {
        auto made = std::make_shared<spdlog::logger>("atoll",
                                                     std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
        made->set_level(spdlog::level::warn);
        made->set_pattern("%H:%M:%S %^%l%$ %v");
        return made;
    }();
    return instance;
}

void build() {
    std::vector<spdlog::sink_ptr> sinks{std::make_shared<spdlog::sinks::stderr_color_sink_mt>()};
    std::string problem;
    if (!settings().file.empty()) {
        try {
            sinks.push_back(std::make_shared<spdlog::sinks::basic_file_sink_mt>(settings().file));
        } catch (const spdlog::spdlog_ex& e) {
            problem = e.what();
        }
    }
    auto made = std::make_shared<spdlog::logger>("atoll", sinks.begin(), sinks.end());
    made->set_level(to_spdlog(settings().level));
    made->flush_on(spdlog::level::info);
    made->set_pattern(settings().name.empty() ? "%H:%M:%S %^%l%$ %v"
                                              : "%H:%M:%S " + settings().name + " %^%l%$ %v");
    logger() = std::move(made);
    if (!problem.empty()) warn("no log file: {}", problem);
}

}  // namespace

void configure(Level level, const std::string& file, const std::string& name) {
    settings() = {level, file, name};
    build();
}

void reopen() { build(); }

bool enabled(Level level) { return logger()->should_log(to_spdlog(level)); }

void write(Level level, std::string_view line) { logger()->log(to_spdlog(level), line); }

}  // namespace Atoll::log
