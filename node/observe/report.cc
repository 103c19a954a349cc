#include "node/observe/report.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "node/observe/chart_js.h"
#include "node/observe/jsonl.h"
#include "node/observe/report_page.h"

namespace Atoll::node {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kEventsPerRunMax =
    4000;  // of one kind: more points than pixels only make the page slow

// At most `limit` lines, evenly spaced, first and last among them.
std::vector<std::string> thin(const std::vector<std::string>& lines, std::size_t limit) {
    if (lines.size() <= limit) return lines;
    std::vector<std::string> kept;
    for (std::size_t i = 0; i < limit; ++i) kept.push_back(lines[i * (lines.size() - 1) / (limit - 1)]);
    return kept;
}

Result<nlohmann::json> run_data(const fs::path& folder) {
    auto lines = read_jsonl(folder / "metrics.jsonl");
    if (!lines) {
        return Error{lines.error().code,
                     fmt::format("{}: not a run folder of atoll train, node or demo", lines.error().message)};
    }
    std::vector<std::string> steps;
    nlohmann::json events = nlohmann::json::array();
    for (const auto& line : *lines) {
        auto event = nlohmann::json::parse(line, nullptr, false);
        if (event.value("kind", "") == "step") {
            steps.push_back(line);
        } else {
            events.push_back(std::move(event));
        }
    }
    for (const auto& line : thin(steps, kEventsPerRunMax)) events.push_back(nlohmann::json::parse(line));
    std::stable_sort(events.begin(), events.end(),
                     [](const auto& a, const auto& b) { return a.value("t", "") < b.value("t", ""); });
    const auto text = read_text(folder / "summary.json");
    auto summary = text ? nlohmann::json::parse(*text, nullptr, false) : nlohmann::json::object();
    if (!summary.is_object()) summary = nlohmann::json::object();
    const fs::path absolute = fs::weakly_canonical(folder);
    return nlohmann::json{
        {"name", absolute.parent_path().filename().string() + "/" + absolute.filename().string()},
        {"folder", absolute.string()},
        {"summary", std::move(summary)},
        {"events", std::move(events)}};
}

// JSON inside <script>: "</script>" in a text of ours must not end it.
std::string for_script(const nlohmann::json& data) {
    std::string text = data.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    for (std::size_t at = 0; (at = text.find("</", at)) != std::string::npos; at += 3)
        text.replace(at, 2, "<\\/");
    return text;
}

}  // namespace

Result<std::string> make_report(const std::vector<fs::path>& run_folders) {
    nlohmann::json runs = nlohmann::json::array();
    for (const auto& folder : run_folders) {
        ATOLL_ASSIGN(auto data, run_data(folder));
        runs.push_back(std::move(data));
    }
    std::string page(kReportHead);
    page += chart_js();
    page += kReportMiddle;
    page += for_script(runs);
    page += kReportTail;
    return page;
}

}  // namespace Atoll::node
