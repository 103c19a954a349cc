#include "base/hash.h"

#include <sodium.h>

namespace Atoll {

namespace {
const unsigned char* raw(const std::byte* p) { return reinterpret_cast<const unsigned char*>(p); }
unsigned char* raw(std::byte* p) { return reinterpret_cast<unsigned char*>(p); }
}  // namespace

Hash blake2b(ByteView bytes) {
    Hash hash{};
    crypto_generichash(raw(hash.data()), hash.size(), raw(bytes.data()), bytes.size(), nullptr, 0);
    return hash;
}

std::string to_hex(const Hash& hash) { return to_hex(ByteView(hash)); }

struct HashStream::State {
    crypto_generichash_state state;
};

HashStream::HashStream() : state_(std::make_unique<State>()) {
    crypto_generichash_init(&state_->state, nullptr, 0, sizeof(Hash));
}
HashStream::~HashStream() = default;

void HashStream::update(ByteView bytes) {
    crypto_generichash_update(&state_->state, raw(bytes.data()), bytes.size());
}

Hash HashStream::finish() {
    Hash hash{};
    crypto_generichash_final(&state_->state, raw(hash.data()), hash.size());
    return hash;
}

}  // namespace Atoll
