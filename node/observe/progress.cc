#include "node/observe/progress.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

namespace Atoll::node {

namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr double kLogSeconds = 5;
constexpr double kSmoothing = 0.3;
constexpr int kBarWidth = 20;

int terminal_columns() {
    winsize size{};
    return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

double steady_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

std::string clock_text(double seconds) {
    const auto whole = static_cast<std::int64_t>(std::max(0.0, seconds));
    if (whole >= 3600) return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
    return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

std::string short_number(double value) {
    constexpr const char* kSuffixes[] = {"", "k", "M", "G", "T", "P"};
    std::size_t index = 0;
    while (value >= 999.5 && index + 1 < std::size(kSuffixes)) {
        value /= 1000;
        ++index;
    }
    return index == 0 ? fmt::format("{:.0f}", value)
                      : fmt::format("{:.{}f}{}", value, value < 99.95 ? 1 : 0, kSuffixes[index]);
}

std::optional<std::string> ProgressLine::update(const ProgressState& state, double now) {
    if (!started_) {
        started_ = true;
        begun_ = shown_ = now;
        first_step_ = state.step;
        shown_tokens_ = state.tokens;
        return std::nullopt;
    }
    const double passed = now - shown_;
    const bool last = state.step >= state.steps_total && state.steps_total > 0;
    if (passed <= 0 || (!last && passed < (terminal_ ? kRedrawSeconds : kLogSeconds))) return std::nullopt;
    const double rate = static_cast<double>(state.tokens - shown_tokens_) / passed;
    tokens_per_second_ =
        tokens_per_second_ > 0 ? tokens_per_second_ + kSmoothing * (rate - tokens_per_second_) : rate;
    shown_ = now;
    shown_tokens_ = state.tokens;

    const double done =
        state.steps_total > 0 ? static_cast<double>(state.step) / static_cast<double>(state.steps_total) : 0;
    const double steps_per_second = static_cast<double>(state.step - first_step_) / (now - begun_);
    const double left = static_cast<double>(state.steps_total - std::min(state.steps_total, state.step));
    const std::string eta = steps_per_second > 0 ? clock_text(left / steps_per_second) : "?";
    std::string line = fmt::format("{:3.0f}% ", 100 * done);
    if (terminal_) {
        const int filled = std::clamp(static_cast<int>(done * kBarWidth), 0, kBarWidth);
        line += "|" + std::string(static_cast<std::size_t>(filled), '#') +
                std::string(static_cast<std::size_t>(kBarWidth - filled), '.') + "| ";
    }
    line += fmt::format("{}/{} [{}<{}, {} tokens/s, loss {:.4f}]", state.step, state.steps_total,
                        clock_text(now - begun_), eta, short_number(tokens_per_second_), state.loss);
    if (terminal_ && columns_ > 0) line.resize(std::min(line.size(), static_cast<std::size_t>(columns_ - 1)));
    return line;
}

Progress::Progress(bool quiet)
    : quiet_(quiet),
      terminal_(::isatty(STDERR_FILENO) == 1),
      line_(terminal_, terminal_ ? terminal_columns() : 0) {}

Progress::~Progress() {
    if (drawn_) std::fputc('\n', stderr);
}

void Progress::update(const ProgressState& state) {
    if (const auto line = line_.update(state, steady_now())) draw(*line);
}

void Progress::show(const std::string& line) {
    const double now = steady_now();
    if (now - drawn_at_ < (terminal_ ? kRedrawSeconds : kLogSeconds)) return;
    drawn_at_ = now;
    draw(line);
}

void Progress::draw(const std::string& line) {
    if (quiet_) return;
    if (terminal_) {
        std::fprintf(stderr, "\r\x1b[K%s", line.c_str());
        drawn_ = true;
    } else {
        std::fprintf(stderr, "%s\n", line.c_str());
    }
    std::fflush(stderr);
}

void Progress::note(const std::string& line) {
    if (quiet_) return;
    clear();
    std::fprintf(stderr, "%s\n", line.c_str());
}

void Progress::clear() {
    if (drawn_) std::fputs("\r\x1b[K", stderr);
    drawn_ = false;
}

}  // namespace Atoll::node
