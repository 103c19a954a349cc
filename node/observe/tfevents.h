// TensorBoard event files: records of [length, masked CRC-32C, protobuf Event, masked CRC-32C].
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "node/observe/event.h"

namespace Atoll::node {

// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), and TensorFlow's mask of it.
[[nodiscard]] std::uint32_t crc32c(ByteView bytes);
[[nodiscard]] std::uint32_t masked_crc32c(ByteView bytes);

// Whole records, framing included.
[[nodiscard]] Bytes tf_version_record(double wall_time);
[[nodiscard]] Bytes tf_scalar_record(double wall_time, std::int64_t step, std::string_view tag, float value);

// A new event file in `folder` (TensorBoard reads all files of a folder as one run). Numeric fields of events
// become scalars: train/loss from a "step", validation/loss from a "validation", <kind>/<field> in general.
[[nodiscard]] Result<std::unique_ptr<EventSink>> open_tfevents(const std::filesystem::path& folder);

}  // namespace Atoll::node
