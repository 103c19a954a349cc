#include "node/observe/jsonl.h"

#include <nlohmann/json.hpp>

#include "base/files.h"
#include "node/observe/append_file.h"

namespace Atoll::node {

namespace {

constexpr std::uint64_t kMetricsBytesMax = 4ULL << 30U;

class JsonlSink : public EventSink {
  public:
    explicit JsonlSink(AppendFile file) : file_(std::move(file)) {}
    Status write(const Event& event) override { return file_.append(as_byte_view(to_json_line(event))); }

  private:
    AppendFile file_;
};

}  // namespace

std::string to_json_line(const Event& event) {
    nlohmann::ordered_json object = {
        {"t", iso8601(event.unix_time)}, {"kind", event.kind}, {"step", event.step}};
    for (const auto& field : event.fields) {
        std::visit([&](const auto& value) { object[std::string(field.name)] = value; }, field.value);
    }
    return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

Result<std::unique_ptr<EventSink>> open_jsonl(const std::filesystem::path& path) {
    bool torn = false;
    if (std::filesystem::exists(path)) {
        ATOLL_ASSIGN(const auto mapped, MappedFile::open(path));
        torn = !mapped.view().empty() && mapped.view().back() != std::byte{'\n'};
    }
    ATOLL_ASSIGN(AppendFile file, AppendFile::open(path));
    if (torn) ATOLL_TRY(file.append(as_byte_view("\n")));
    return std::unique_ptr<EventSink>(std::make_unique<JsonlSink>(std::move(file)));
}

Result<std::vector<std::string>> read_jsonl(const std::filesystem::path& path) {
    ATOLL_ASSIGN(const std::string text, read_text(path, kMetricsBytesMax));
    std::vector<std::string> lines;
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        std::string line = text.substr(begin, end - begin);
        const auto object = nlohmann::json::parse(line, nullptr, false);
        if (object.is_object()) lines.push_back(std::move(line));
        begin = end + 1;
    }
    return lines;
}

}  // namespace Atoll::node
