#include "node/process.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>

#include "node/signals.h"

namespace Atoll::node {

namespace {

Result<int> open_output(const std::filesystem::path& path) {
    const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (descriptor < 0)
        return Error{ErrorCode::failed, fmt::format("opening {}: {}", path.string(), std::strerror(errno))};
    return descriptor;
}

std::vector<char*> pointers_to(std::vector<std::string>& words) {
    std::vector<char*> pointers;
    for (auto& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    return pointers;
}

std::vector<std::string> environment_with(const std::vector<std::pair<std::string, std::string>>& additions) {
    std::vector<std::string> words;
    for (char** variable = environ; *variable != nullptr; ++variable) {
        const std::string_view word(*variable);
        const auto same = [&](const auto& addition) { return word.starts_with(addition.first + "="); };
        if (std::none_of(additions.begin(), additions.end(), same)) words.emplace_back(word);
    }
    for (const auto& [name, value] : additions) words.push_back(name + "=" + value);
    return words;
}

}  // namespace

Result<Process> Process::start(const ProcessRequest& request) {
    ATOLL_ASSIGN(const int output, open_output(request.standard_output));
    const auto error = open_output(request.standard_error);
    if (!error) {
        ::close(output);
        return error.error();
    }
    std::vector<std::string> words{request.program.string()};
    words.insert(words.end(), request.arguments.begin(), request.arguments.end());
    std::vector<std::string> variables = environment_with(request.environment);
    // All memory is taken before fork(): the child of a process with threads may only make system calls.
    const auto arguments = pointers_to(words);
    const auto environment = pointers_to(variables);
    Process process;
    process.pid_ = ::fork();
    if (process.pid_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGTERM);
        restore_default_signals();
        ::dup2(output, STDOUT_FILENO);
        ::dup2(*error, STDERR_FILENO);
        ::execve(arguments[0], arguments.data(), environment.data());
        ::_exit(127);
    }
    const int code = errno;
    ::close(output);
    ::close(*error);
    if (process.pid_ < 0)
        return Error{ErrorCode::failed, fmt::format("starting {}: {}", words[0], std::strerror(code))};
    return process;
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), exit_code_(other.exit_code_) {}

Process& Process::operator=(Process&& other) noexcept {
    std::swap(pid_, other.pid_);
    std::swap(exit_code_, other.exit_code_);
    return *this;
}

Process::~Process() {
    if (pid_ <= 0 || poll()) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
}

void Process::signal(int number) const {
    if (pid_ > 0 && !exit_code_) ::kill(pid_, number);
}

std::optional<int> Process::poll() {
    if (exit_code_ || pid_ <= 0) return exit_code_;
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    return exit_code_;
}

std::optional<int> Process::wait(double seconds) {
    constexpr auto kInterval = std::chrono::milliseconds(20);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (!poll() && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(kInterval);
    return exit_code_;
}

}  // namespace Atoll::node
