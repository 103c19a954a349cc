// SimGrid's engine lives once in a process: each test runs its simulation in a forked child and reads back
// what it said.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>

namespace Atoll::sims {

inline std::string in_child(const std::function<std::string()>& body) {
    int ends[2] = {};
    if (::pipe(ends) != 0) {
        ADD_FAILURE() << "pipe failed";
        return "";
    }
    const pid_t child = ::fork();
    if (child == 0) {
        ::close(ends[0]);
        const std::string said = body();
        std::size_t done = 0;
        while (done < said.size()) {
            const ssize_t written = ::write(ends[1], said.data() + done, said.size() - done);
            if (written <= 0) ::_exit(3);
            done += static_cast<std::size_t>(written);
        }
        ::_exit(0);
    }
    ::close(ends[1]);
    std::string said;
    char buffer[4096];
    for (ssize_t count = 0; (count = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
        said.append(buffer, static_cast<std::size_t>(count));
    }
    ::close(ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
        << "the simulation's process ended with status " << status;
    return said;
}

}  // namespace Atoll::sims
