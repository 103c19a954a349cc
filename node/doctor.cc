#include "node/doctor.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <thread>

#include "node/build_info.h"
#include "node/observe/run_folder.h"

namespace Atoll::node {

namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

CheckResult good(std::string detail) { return {"", "ok", std::move(detail), ""}; }
CheckResult limited(std::string detail, std::string fix) {
    return {"", "warn", std::move(detail), std::move(fix)};
}
CheckResult broken(std::string detail, std::string fix) {
    return {"", "fail", std::move(detail), std::move(fix)};
}

// A whole line of a file of the kernel; "" if it cannot be read.
std::string line_of(const char* path) {
    std::ifstream stream(path);
    std::string line;
    std::getline(stream, line);
    return line;
}

// A line "Key:   123 kB" of /proc/meminfo, in bytes; 0 if absent.
double memory_line(const std::string& key) {
    std::ifstream stream("/proc/meminfo");
    for (std::string line; std::getline(stream, line);) {
        if (line.starts_with(key + ":")) return 1024.0 * std::strtod(line.c_str() + key.size() + 1, nullptr);
    }
    return 0;
}

CheckResult check_processor() {
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") != 0;
    const bool avx512 = __builtin_cpu_supports("avx512f") != 0;
    const bool bf16 = __builtin_cpu_supports("avx512bf16") != 0;
    const std::string detail = fmt::format("{}, {} threads, AVX2 {}, AVX-512 {}, AVX512-BF16 {}", cpu_model(),
                                           std::thread::hardware_concurrency(), avx2 ? "yes" : "no",
                                           avx512 ? "yes" : "no", bf16 ? "yes" : "no");
    if (!avx2)
        return limited(detail,
                       "training works but is several times slower; use a processor of 2013 or later");
    return good(detail);
}

CheckResult check_memory() {
    const double available = memory_line("MemAvailable");
    const std::string detail =
        fmt::format("{:.1f} of {:.1f} GiB available", available / kGiB, memory_line("MemTotal") / kGiB);
    if (available < 0.5 * kGiB)
        return broken(detail, "end other programs; the tiny preset needs 0.2 GiB, gpt2-124m about 4");
    if (available < 4 * kGiB) return limited(detail, "enough for small models; gpt2-124m needs about 4 GiB");
    return good(detail);
}

CheckResult check_huge_pages() {
    const std::string mode = line_of("/sys/kernel/mm/transparent_hugepage/enabled");
    if (mode.find("[never]") == std::string::npos && !mode.empty())
        return good("transparent huge pages: " + mode);
    return limited(
        mode.empty() ? "the kernel has no transparent huge pages" : "transparent huge pages are off",
        "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled (as root)");
}

CheckResult check_locked_memory() {
    rlimit limit{};
    ::getrlimit(RLIMIT_MEMLOCK, &limit);
    const std::string detail =
        limit.rlim_cur == RLIM_INFINITY ? "no limit" : fmt::format("at most {} KiB", limit.rlim_cur / 1024);
    if (limit.rlim_cur < 64U << 10U) {
        return limited(
            detail,
            "keys may be swapped to disk: raise it with ulimit -l 1024, or LimitMEMLOCK= in the unit file");
    }
    return good(detail);
}

CheckResult check_open_files() {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    const std::string detail = fmt::format("{} at once", limit.rlim_cur);
    if (limit.rlim_cur < 1024) return limited(detail, "ulimit -n 4096: every peer takes a few");
    return good(detail);
}

CheckResult check_disk() {
    struct statvfs info {};
    if (::statvfs(".", &info) != 0)
        return broken("the working folder cannot be read", "change to a folder you may write to");
    const double free = static_cast<double>(info.f_bavail) * static_cast<double>(info.f_frsize);
    const std::string detail =
        fmt::format("{:.1f} GiB free in {}", free / kGiB, std::filesystem::current_path().string());
    if (::access(".", W_OK) != 0)
        return broken(detail + ", not writable", "change to a folder you may write to");
    if (free < 0.2 * kGiB) return broken(detail, "free some space: checkpoints and shards go here");
    if (free < 5 * kGiB)
        return limited(detail, "enough for small models; checkpoints of gpt2-124m take 1.5 GiB each");
    return good(detail);
}

// Certificates and invites carry times: a clock that is hours off makes every peer refuse.
CheckResult check_clock() {
    constexpr std::time_t kBuiltAfter = 1767225600;  // 2026-01-01
    timex state{};
    const bool synchronised = ::adjtimex(&state) != TIME_ERROR;
    const std::time_t now = std::time(nullptr);
    std::array<char, 32> text{};
    std::tm utc{};
    std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", ::gmtime_r(&now, &utc));
    if (now < kBuiltAfter)
        return broken(fmt::format("{}: in the past", text.data()), "set the clock: timedatectl set-ntp true");
    if (!synchronised) {
        return limited(fmt::format("{}, not synchronised by the kernel", text.data()),
                       "timedatectl set-ntp true (in a container: on the host)");
    }
    return good(fmt::format("{}, synchronised", text.data()));
}

CheckResult check_loopback() {
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const raw = reinterpret_cast<sockaddr*>(&address);
    const bool listening = listener >= 0 && ::bind(listener, raw, size) == 0 && ::listen(listener, 1) == 0 &&
                           ::getsockname(listener, raw, &size) == 0;
    const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool connected = listening && ::connect(client, raw, size) == 0;
    const int code = errno;
    ::close(client);
    ::close(listener);
    if (connected) return good("a TCP port on 127.0.0.1 takes connections");
    return broken(fmt::format("no TCP connection on 127.0.0.1: {}", std::strerror(code)),
                  "allow loopback in the firewall or sandbox");
}

CheckResult check_congestion_control() {
    const std::string name = line_of("/proc/sys/net/ipv4/tcp_congestion_control");
    if (name.empty()) return limited("unknown", "");
    const std::string detail = fmt::format("{} (available: {})", name,
                                           line_of("/proc/sys/net/ipv4/tcp_available_congestion_control"));
    if (name == "bbr")
        return limited(detail, "good on the internet; between nodes of one machine cubic is twice as fast");
    return good(detail);
}

CheckResult check_gpu() {
    void* driver = ::dlopen("libcuda.so.1", RTLD_LAZY);
    if (driver == nullptr) return good("no NVIDIA driver: training runs on the processor");
    const auto init = reinterpret_cast<int (*)(unsigned)>(::dlsym(driver, "cuInit"));
    const auto count_devices = reinterpret_cast<int (*)(int*)>(::dlsym(driver, "cuDeviceGetCount"));
    int count = 0;
    const bool works =
        init != nullptr && count_devices != nullptr && init(0) == 0 && count_devices(&count) == 0;
    ::dlclose(driver);
    if (!works || count == 0)
        return limited("an NVIDIA driver that shows no device",
                       "nvidia-smi; in a container start it with --gpus all");
    if (!build_info().cuda)
        return limited(fmt::format("{} GPU, but this build has no CUDA", count),
                       "build Atoll where the CUDA toolkit is, 12 or newer");
    return good(fmt::format("{} GPU; --device cuda computes on the first", count));
}

CheckResult check_nccl() {
    void* library = ::dlopen("libnccl.so.2", RTLD_LAZY);
    if (library == nullptr) return good("not installed: needed only for several GPUs in one island");
    ::dlclose(library);
    return good("libnccl.so.2 is there");
}

CheckResult check_open_mpi() {
    if (build_info().mpi) return good("mpirun -np N atoll train starts N ranks of one island");
    return good("not in this build: needed only for ranks of an island that compute on processors");
}

CheckResult check_energy() {
    if (::access("/sys/class/powercap/intel-rapl:0/energy_uj", R_OK) == 0) return good("counters (RAPL)");
    return limited("no readable counter: energy is estimated from CPU time",
                   "chmod a+r /sys/class/powercap/*/energy_uj as root, where they exist");
}

struct Check {
    const char* name;
    CheckResult (*run)();
};

constexpr Check kChecks[] = {
    {"processor", check_processor},
    {"memory", check_memory},
    {"huge_pages", check_huge_pages},
    {"locked_memory", check_locked_memory},
    {"open_files", check_open_files},
    {"disk", check_disk},
    {"clock", check_clock},
    {"loopback", check_loopback},
    {"tcp_congestion_control", check_congestion_control},
    {"gpu", check_gpu},
    {"nccl", check_nccl},
    {"open_mpi", check_open_mpi},
    {"energy_counter", check_energy},
};

}  // namespace

std::vector<CheckResult> examine_machine() {
    std::vector<CheckResult> results;
    for (const Check& check : kChecks) {
        CheckResult result = check.run();
        result.name = check.name;
        results.push_back(std::move(result));
    }
    return results;
}

}  // namespace Atoll::node
