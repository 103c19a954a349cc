// The value computed last, kept for the next caller who asks for the same: schedules change with the members
// only, and are asked for by one activity at a time (but by several without harm).
#pragma once

#include <atomic>
#include <memory>
#include <utility>

namespace Atoll::gossip {

template <typename Key, typename Value>
class Latest {
  public:
    // The value of `key`: the one at hand, or make().
    template <typename Make>
    [[nodiscard]] std::shared_ptr<const Value> get(const Key& key, Make&& make) const {
        std::shared_ptr<const Entry> entry = entry_.load();
        if (!entry || !(entry->key == key)) {
            entry = std::make_shared<const Entry>(Entry{key, make()});
            entry_.store(entry);
        }
        return {entry, &entry->value};
    }

  private:
    struct Entry {
        Key key;
        Value value;
    };
    mutable std::atomic<std::shared_ptr<const Entry>> entry_;
};

}  // namespace Atoll::gossip
