#include "node/observe/energy.h"

#include <fmt/core.h>
#include <sys/resource.h>

#include <fstream>
#include <optional>

namespace Atoll::node {

namespace fs = std::filesystem;

namespace {

double cpu_seconds() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

template <typename T>
std::optional<T> read_value(const fs::path& path) {
    std::ifstream stream(path);
    T value{};
    if (stream >> value) return value;
    return std::nullopt;
}

}  // namespace

EnergyMeter::EnergyMeter(double watts_per_thread, const fs::path& powercap)
    : watts_per_thread_(watts_per_thread), cpu_seconds_begin_(cpu_seconds()) {
    std::error_code code;
    for (const auto& entry : fs::directory_iterator(powercap, code)) {
        // "intel-rapl-mmio" shows the same counters a second time; "core", "uncore" are parts of a package,
        // "psys" holds it.
        if (!entry.path().filename().string().starts_with("intel-rapl:")) continue;
        const auto name = read_value<std::string>(entry.path() / "name");
        if (!name || !(name->starts_with("package") || name->starts_with("dram"))) continue;
        const auto now = read_value<double>(entry.path() / "energy_uj");  // for root only on most kernels
        const auto range = read_value<double>(entry.path() / "max_energy_range_uj");
        if (now && range) counters_.push_back({entry.path() / "energy_uj", *now, *range, 0});
    }
}

EnergyReading EnergyMeter::read() {
    if (counters_.empty()) {
        const double seconds = cpu_seconds() - cpu_seconds_begin_;
        return {
            seconds * watts_per_thread_, "estimated",
            fmt::format("{:.1f} CPU seconds x {} W (local.watts_per_thread)", seconds, watts_per_thread_)};
    }
    double joules = 0;
    for (auto& counter : counters_) {
        if (const auto now = read_value<double>(counter.file)) {
            double passed = *now - counter.last_microjoules;
            if (passed < 0) passed += counter.range_microjoules;
            counter.joules += 1e-6 * passed;
            counter.last_microjoules = *now;
        }
        joules += counter.joules;
    }
    return {joules, "counter", fmt::format("RAPL, {} domains, everything on this machine", counters_.size())};
}

double carbon_grams(double joules, double power_usage_effectiveness, double grid_grams_per_kwh) {
    constexpr double kJoulesPerKwh = 3.6e6;
    return joules * power_usage_effectiveness / kJoulesPerKwh * grid_grams_per_kwh;
}

}  // namespace Atoll::node
