#include "model/island/shared_state.h"

#include <fmt/core.h>

#include <algorithm>
#include <sstream>

namespace Atoll::model {

namespace {

const StateVector* find(const std::vector<StateVector>& vectors, const std::string& name) {
    const auto it = std::ranges::find(vectors, name, &StateVector::name);
    return it == vectors.end() ? nullptr : &*it;
}

}  // namespace

kernels::Parts SharedState::Vector::parts() const {
    std::vector<std::size_t> ends;
    std::size_t end = 0;
    bool taken = false;
    for (const std::size_t size : sizes) {
        if (!common || !taken) end += size;
        taken = taken || size > 0;
        ends.push_back(end);
    }
    return kernels::Parts(std::move(ends));
}

// Every rank learns which vectors the others have: the same list in the same order everywhere.
Status SharedState::describe(const std::vector<StateVector>& mine) {
    std::string text;
    for (const StateVector& vector : mine)
        text += fmt::format("{} {} {:d}\n", vector.name, vector.values.size(), vector.common);
    ATOLL_ASSIGN(const std::vector<Bytes> all, ranks_.all_gather(as_byte_view(text)));
    whole_.clear();
    for (std::size_t rank = 0; rank < all.size(); ++rank) {
        std::istringstream lines(
            std::string(reinterpret_cast<const char*>(all[rank].data()), all[rank].size()));
        std::string name;
        std::size_t size = 0;
        for (bool common = false; lines >> name >> size >> common;) {
            auto it = std::ranges::find(whole_, name, &Vector::name);
            if (it == whole_.end()) {
                whole_.push_back(
                    {.name = name, .sizes = std::vector<std::size_t>(all.size()), .common = common});
                it = whole_.end() - 1;
            }
            it->sizes[rank] = size;
        }
    }
    return {};
}

Result<std::vector<StateVector>> SharedState::gather(const std::vector<StateVector>& mine) {
    ATOLL_TRY(describe(mine));
    std::vector<StateVector> result;
    for (Vector& vector : whole_) {
        const kernels::Parts parts = vector.parts();
        vector.values = kernels::FlatBuffer(parts.total());
        const StateVector* own = find(mine, vector.name);
        const std::span<float> part = parts.of(ranks_.rank(), vector.values.span());
        if (!part.empty()) std::ranges::copy(own->values, part.begin());
        ATOLL_TRY(ranks_.all_gather(vector.values.span(), parts));
        if (ranks_.rank() == 0) {
            result.push_back({vector.name, vector.values.span(), vector.common});
        } else {
            vector.values = {};  // one vector at a time is all that the others need memory for
        }
    }
    return result;
}

Status SharedState::scatter(const std::vector<StateVector>& mine) {
    for (Vector& vector : whole_) {
        const kernels::Parts parts = vector.parts();
        if (ranks_.rank() != 0) vector.values = kernels::FlatBuffer(parts.total());
        ATOLL_TRY(ranks_.broadcast(vector.values.span()));
        if (const StateVector* own = find(mine, vector.name)) {
            const std::span<float> values = vector.values.span();
            std::ranges::copy(vector.common ? values : parts.of(ranks_.rank(), values), own->values.begin());
        }
        vector.values = {};
    }
    return {};
}

}  // namespace Atoll::model
