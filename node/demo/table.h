// How the demo shows its nodes: a live table on a terminal, a line every few seconds in a log.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "node/demo/swarm.h"

namespace Atoll::node {

// The table's lines, header first.
[[nodiscard]] std::vector<std::string> table_lines(const std::vector<DemoNode>& nodes, std::uint64_t rounds);
// The same in one line.
[[nodiscard]] std::string summary_line(const std::vector<DemoNode>& nodes, std::uint64_t rounds,
                                       double seconds);

// Draws on standard error.
class DemoTable {
  public:
    explicit DemoTable(bool quiet);
    void update(const std::vector<DemoNode>& nodes, std::uint64_t rounds, double seconds);
    // A line that stays, above the table.
    void note(const std::string& line);

  private:
    bool quiet_;
    bool terminal_;
    std::size_t drawn_lines_ = 0;
    double shown_at_ = -1e9;
};

}  // namespace Atoll::node
