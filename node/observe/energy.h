// Energy and carbon of a run: read from the machine's counters where it may, estimated and labelled so where
// not.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace Atoll::node {

struct EnergyReading {
    double joules = 0;
    std::string source;  // "counter" (RAPL: CPU packages and memory, the whole machine) or "estimated" (CPU
                         // time x watts)
    std::string detail;  // in words, with the numbers that went in
};

// Measures from construction on.
class EnergyMeter {
  public:
    // `watts_per_thread`: of one busy thread, for the estimate. `powercap`: /sys/class/powercap but for
    // tests.
    explicit EnergyMeter(double watts_per_thread,
                         const std::filesystem::path& powercap = "/sys/class/powercap");
    // Also keeps the counters from wrapping unseen: call it at least once every few minutes.
    [[nodiscard]] EnergyReading read();

  private:
    // One RAPL domain; packages and memory only, since the others are parts of those.
    struct Counter {
        std::filesystem::path file;
        double last_microjoules = 0;
        double range_microjoules = 0;  // it starts over at this
        double joules = 0;
    };
    std::vector<Counter> counters_;
    double watts_per_thread_;
    double cpu_seconds_begin_;
};

// Grams of CO2-equivalent: joules of the computers x site overhead x grid intensity.
[[nodiscard]] double carbon_grams(double joules, double power_usage_effectiveness, double grid_grams_per_kwh);

}  // namespace Atoll::node
