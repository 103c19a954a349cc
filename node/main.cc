// The program `atoll`.
#include <atomic>
#include <filesystem>
#include <string>
#include <vector>

#include "base/stop.h"
#include "node/cli.h"
#include "node/signals.h"

int main(int count, char** arguments) {
    Atoll::StopToken stop;
    std::atomic<bool> watches_stop = false;
    const Atoll::node::SignalThread signals(stop, watches_stop);
    std::error_code code;
    const auto self = std::filesystem::read_symlink("/proc/self/exe", code);
    return Atoll::node::run_cli({arguments + 1, arguments + count}, code ? arguments[0] : self.string(), stop,
                                watches_stop);
}
