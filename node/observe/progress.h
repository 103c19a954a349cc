// One line that says how far a long job is: redrawn on a terminal, printed every few seconds into a log.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "node/observe/event.h"

namespace Atoll::node {

struct ProgressState {
    std::uint64_t step = 0;
    std::uint64_t steps_total = 0;
    std::uint64_t tokens = 0;  // so far, by this process
    double loss = 0;
};

// Decides when a line is due and what it says; knows no clock and no stream.
class ProgressLine {
  public:
    ProgressLine(bool terminal, int columns) : terminal_(terminal), columns_(columns) {}
    // `now`: seconds, never going back. A line is due ten times a second on a terminal, every five seconds
    // otherwise.
    [[nodiscard]] std::optional<std::string> update(const ProgressState& state, double now);
    // Smoothed over updates (weight 0.3 for the newest).
    [[nodiscard]] double tokens_per_second() const { return tokens_per_second_; }

  private:
    bool terminal_;
    int columns_;
    bool started_ = false;
    double begun_ = 0;
    double shown_ = 0;
    std::uint64_t first_step_ = 0;
    std::uint64_t shown_tokens_ = 0;
    double tokens_per_second_ = 0;
};

// 83 -> "1:23", 4000 -> "1:06:40".
[[nodiscard]] std::string clock_text(double seconds);
// 12345 -> "12.3k".
[[nodiscard]] std::string short_number(double value);

// Draws on standard error; `quiet`: draws nothing. Notes in between go through note(), which keeps the line
// whole.
class Progress {
  public:
    explicit Progress(bool quiet);
    ~Progress();
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    void update(const ProgressState& state);
    // Any other line about how far the job is, as often as update() would draw.
    void show(const std::string& line);
    void note(const std::string& line);
    [[nodiscard]] double tokens_per_second() const { return line_.tokens_per_second(); }

  private:
    void draw(const std::string& line);
    void clear();
    bool quiet_;
    bool terminal_;
    bool drawn_ = false;
    double drawn_at_ = 0;
    ProgressLine line_;
};

}  // namespace Atoll::node
