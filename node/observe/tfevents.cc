#include "node/observe/tfevents.h"

#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cstring>

#include "node/observe/append_file.h"

namespace Atoll::node {

namespace {

static_assert(std::endian::native == std::endian::little, "records are written as they lie in memory");

constexpr std::array<std::uint32_t, 256> kCrcTable = [] {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < 256; ++i) {
        std::uint32_t crc = i;
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? 0x82f63b78U : 0U);
        table[i] = crc;
    }
    return table;
}();

template <typename T>
void append_raw(Bytes& bytes, T value) {
    const auto raw = std::bit_cast<std::array<std::byte, sizeof(T)>>(value);
    bytes.insert(bytes.end(), raw.begin(), raw.end());
}

// Protobuf: a field's key is number * 8 + wire type (0 varint, 1 64 bits, 2 length-delimited, 5 32 bits).
void append_varint(Bytes& bytes, std::uint64_t value) {
    for (; value >= 0x80U; value >>= 7U) bytes.push_back(static_cast<std::byte>((value & 0x7fU) | 0x80U));
    bytes.push_back(static_cast<std::byte>(value));
}

void append_field(Bytes& bytes, std::uint32_t number, ByteView value) {
    append_varint(bytes, number * 8 + 2);
    append_varint(bytes, value.size());
    bytes.insert(bytes.end(), value.begin(), value.end());
}

Bytes event_with_time(double wall_time) {
    Bytes event;
    append_varint(event, 1 * 8 + 1);
    append_raw(event, wall_time);
    return event;
}

Bytes framed(const Bytes& event) {
    Bytes record;
    append_raw(record, static_cast<std::uint64_t>(event.size()));
    append_raw(record, masked_crc32c(record));
    record.insert(record.end(), event.begin(), event.end());
    append_raw(record, masked_crc32c(event));
    return record;
}

class TfeventsSink : public EventSink {
  public:
    explicit TfeventsSink(AppendFile file) : file_(std::move(file)) {}

    Status write(const Event& event) override {
        Bytes records;
        const std::string prefix(event.kind == "step" ? "train" : event.kind);
        for (const auto& field : event.fields) {
            double value = 0;
            if (const auto* real = std::get_if<double>(&field.value)) {
                value = *real;
            } else if (const auto* whole = std::get_if<std::int64_t>(&field.value)) {
                value = static_cast<double>(*whole);
            } else {
                continue;
            }
            const Bytes record =
                tf_scalar_record(event.unix_time, static_cast<std::int64_t>(event.step),
                                 fmt::format("{}/{}", prefix, field.name), static_cast<float>(value));
            records.insert(records.end(), record.begin(), record.end());
        }
        return file_.append(records);
    }

  private:
    AppendFile file_;
};

}  // namespace

std::uint32_t crc32c(ByteView bytes) {
    std::uint32_t crc = ~0U;
    for (const std::byte byte : bytes) {
        crc = (crc >> 8U) ^ kCrcTable[(crc ^ std::to_integer<std::uint32_t>(byte)) & 0xffU];
    }
    return ~crc;
}

std::uint32_t masked_crc32c(ByteView bytes) { return std::rotr(crc32c(bytes), 15) + 0xa282ead8U; }

// Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5; }
Bytes tf_version_record(double wall_time) {
    Bytes event = event_with_time(wall_time);
    append_field(event, 3, as_byte_view("brain.Event:2"));
    return framed(event);
}

// Summary { repeated Value value = 1; }   Value { string tag = 1; float simple_value = 2; }
Bytes tf_scalar_record(double wall_time, std::int64_t step, std::string_view tag, float value) {
    Bytes scalar;
    append_field(scalar, 1, as_byte_view(tag));
    append_varint(scalar, 2 * 8 + 5);
    append_raw(scalar, value);
    Bytes summary;
    append_field(summary, 1, scalar);
    Bytes event = event_with_time(wall_time);
    append_varint(event, 2 * 8 + 0);
    append_varint(event, static_cast<std::uint64_t>(step));
    append_field(event, 5, summary);
    return framed(event);
}

Result<std::unique_ptr<EventSink>> open_tfevents(const std::filesystem::path& folder) {
    std::array<char, 256> host{};
    ::gethostname(host.data(), host.size() - 1);
    const double now = unix_now();
    const std::string name = fmt::format("events.out.tfevents.{:010}.{}.{}.0", static_cast<std::int64_t>(now),
                                         host.data(), ::getpid());
    ATOLL_ASSIGN(AppendFile file, AppendFile::open(folder / name));
    ATOLL_TRY(file.append(tf_version_record(now)));
    return std::unique_ptr<EventSink>(std::make_unique<TfeventsSink>(std::move(file)));
}

}  // namespace Atoll::node
