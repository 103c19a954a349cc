#include "gossip/secret_bytes.h"

#include <sodium.h>

#include "base/check.h"

namespace Atoll::gossip {

void initialise_crypto() {
    static const int initialised = sodium_init();
    ATOLL_CHECK(initialised >= 0);
}

SecretBytes::SecretBytes(std::size_t size) : size_(size) {
    initialise_crypto();
    // sodium_malloc fails only when the address space is exhausted.
    data_.reset(static_cast<std::byte*>(sodium_malloc(size)));
    ATOLL_CHECK(data_ != nullptr);
}

void SecretBytes::Free::operator()(std::byte* data) const { sodium_free(data); }

}  // namespace Atoll::gossip
