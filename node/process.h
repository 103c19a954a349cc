// A child process of ours: started, watched, stopped. For the demo's nodes.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace Atoll::node {

struct ProcessRequest {
    std::filesystem::path program;
    std::vector<std::string> arguments;
    std::vector<std::pair<std::string, std::string>> environment;  // in addition to ours
    std::filesystem::path standard_output;                         // files, appended to
    std::filesystem::path standard_error;
};

class Process {
  public:
    // It gets SIGTERM should this process end first. Errors: the files cannot be opened, no more processes; a
    // program that cannot be executed ends with 127.
    [[nodiscard]] static Result<Process> start(const ProcessRequest& request);
    Process(Process&& other) noexcept;
    Process& operator=(Process&& other) noexcept;
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;
    // SIGKILL if it still runs.
    ~Process();

    [[nodiscard]] pid_t pid() const { return pid_; }
    void signal(int number) const;
    // The exit code, 128 + signal if a signal ended it; nothing while it runs.
    [[nodiscard]] std::optional<int> poll();
    // Waits at most so long.
    [[nodiscard]] std::optional<int> wait(double seconds);

  private:
    Process() = default;
    pid_t pid_ = -1;
    std::optional<int> exit_code_;
};

}  // namespace Atoll::node
