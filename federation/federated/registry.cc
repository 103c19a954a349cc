#include "federation/federated/registry.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "base/check.h"
#include "federation/federated/packed.h"

namespace Atoll::federation {

namespace {

constexpr std::string_view kRecord = "registry.";
constexpr std::string_view kMemory = "memory.";

// The whole numbers of a record, in the order in which they are packed.
std::vector<std::uint64_t*> numbers_of(ClientRecord& record) {
    return {&record.number, &record.birth, &record.decided, &record.last_round};
}

void pack_record(ClientRecord& record) {
    record.packed.clear();
    for (const std::uint64_t* number : numbers_of(record)) {
        std::array<float, kPackedFloats> digits{};
        pack(*number, digits);
        record.packed.insert(record.packed.end(), digits.begin(), digits.end());
    }
    record.packed.push_back(static_cast<float>(record.verdict));
    record.packed.push_back(record.forgotten ? 1.0F : 0.0F);
    for (const double value :
         {record.attendance.weight, record.attendance.intervals, record.attendance.absent}) {
        record.packed.push_back(static_cast<float>(value));
    }
}

void unpack_record(ClientRecord& record) {
    std::span<const float> in = record.packed;
    for (std::uint64_t* number : numbers_of(record)) {
        *number = unpack(in.first<kPackedFloats>());
        in = in.subspan(kPackedFloats);
    }
    record.verdict = static_cast<gossip::ReceiptKind>(in[0]);
    record.forgotten = in[1] != 0;
    record.received = record.decided;  // what had come beyond that was lost with the process
    record.attendance = {.weight = double{in[2]}, .intervals = double{in[3]}, .absent = double{in[4]}};
}

std::optional<gossip::PeerId> parse_peer(std::string_view hex) {
    gossip::PeerId peer;
    if (hex.size() != 2 * peer.key.size()) return std::nullopt;
    for (std::size_t i = 0; i < peer.key.size(); ++i) {
        unsigned value = 0;
        const char* const begin = hex.data() + 2 * i;
        const auto [stop, error] = std::from_chars(begin, begin + 2, value, 16);
        if (error != std::errc() || stop != begin + 2) return std::nullopt;
        peer.key[i] = static_cast<std::byte>(value);
    }
    return peer;
}

}  // namespace

ClientRecord* ClientRegistry::find(const gossip::PeerId& peer) {
    const auto found = std::ranges::find_if(records_, [&](const auto& known) { return known->peer == peer; });
    return found == records_.end() ? nullptr : found->get();
}

ClientRecord& ClientRegistry::add(const gossip::PeerId& peer) {
    ATOLL_CHECK(find(peer) == nullptr);
    auto record = std::make_unique<ClientRecord>();
    record->peer = peer;
    record->number = records_.size();
    record->memory.resize(memory_);
    records_.push_back(std::move(record));
    return *records_.back();
}

std::size_t ClientRegistry::counted() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(records_, [](const auto& record) { return !record->forgotten; }));
}

void ClientRegistry::append_to(std::vector<StateVector>& state) {
    for (const auto& record : records_) {
        pack_record(*record);
        state.push_back({std::string(kRecord) + record->peer.text(), record->packed, false});
        if (memory_ > 0) state.push_back({std::string(kMemory) + record->peer.text(), record->memory, false});
    }
}

bool ClientRegistry::reserve(std::string_view name) {
    const bool memory = name.starts_with(kMemory);
    if (!memory && !name.starts_with(kRecord)) return false;
    if (memory && memory_ == 0) return false;
    const auto peer = parse_peer(name.substr(memory ? kMemory.size() : kRecord.size()));
    if (!peer) return false;
    if (find(*peer) == nullptr) add(*peer);
    return true;
}

void ClientRegistry::restored() {
    for (const auto& record : records_) {
        if (!record->packed.empty()) unpack_record(*record);
    }
    std::ranges::sort(records_, {}, [](const auto& record) { return record->number; });
}

}  // namespace Atoll::federation
