#include "node/demo/table.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>

#include "node/observe/progress.h"

namespace Atoll::node {

namespace {

constexpr double kRedrawSeconds = 0.25;
constexpr double kLogSeconds = 5;

std::string loss_text(double loss) { return std::isfinite(loss) ? fmt::format("{:.3f}", loss) : "-"; }

}  // namespace

std::vector<std::string> table_lines(const std::vector<DemoNode>& nodes, std::uint64_t rounds) {
    std::vector<std::string> lines{fmt::format("{:<10} {:<8} {:<10} {:>6} {:>7} {:>7} {:>9} {:>10}", "node",
                                               "peer", "phase", "step", "round", "loss", "tokens/s", "sent")};
    for (const DemoNode& node : nodes) {
        lines.push_back(fmt::format(
            "{:<10} {:<8} {:<10} {:>6} {:>7} {:>7} {:>9} {:>10}", node.name, node.peer.substr(0, 8),
            node.phase, node.step, fmt::format("{}/{}", node.round, rounds), loss_text(node.loss),
            short_number(node.tokens_per_second), short_number(static_cast<double>(node.bytes_sent)) + "B"));
    }
    return lines;
}

std::string summary_line(const std::vector<DemoNode>& nodes, std::uint64_t rounds, double seconds) {
    std::string line = fmt::format("[{}]", clock_text(seconds));
    for (const DemoNode& node : nodes) {
        line += fmt::format("  {}: {} round {}/{} step {} loss {} sent {}B", node.name, node.phase,
                            node.round, rounds, node.step, loss_text(node.loss),
                            short_number(static_cast<double>(node.bytes_sent)));
    }
    return line;
}

DemoTable::DemoTable(bool quiet) : quiet_(quiet), terminal_(::isatty(STDERR_FILENO) == 1) {}

void DemoTable::update(const std::vector<DemoNode>& nodes, std::uint64_t rounds, double seconds) {
    if (quiet_ || seconds - shown_at_ < (terminal_ ? kRedrawSeconds : kLogSeconds)) return;
    shown_at_ = seconds;
    if (!terminal_) {
        std::fprintf(stderr, "%s\n", summary_line(nodes, rounds, seconds).c_str());
        return;
    }
    if (drawn_lines_ > 0) std::fprintf(stderr, "\x1b[%zuA", drawn_lines_);
    const auto lines = table_lines(nodes, rounds);
    for (const auto& line : lines) std::fprintf(stderr, "\x1b[K%s\n", line.c_str());
    drawn_lines_ = lines.size();
}

void DemoTable::note(const std::string& line) {
    if (quiet_) return;
    if (drawn_lines_ > 0) std::fprintf(stderr, "\x1b[%zuA\x1b[J", drawn_lines_);
    std::fprintf(stderr, "%s\n", line.c_str());
    drawn_lines_ = 0;
    shown_at_ = -1e9;
}

}  // namespace Atoll::node
