#include <fmt/core.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/options.h"
#include "federation/algorithm/algorithm.h"
#include "gossip/averaging/averaging.h"
#include "gossip/codec/codec.h"
#include "gossip/topology/topology.h"
#include "model/config.h"
#include "model/optim/optimizer.h"
#include "model/optim/schedule.h"
#include "node/command.h"

namespace Atoll::node {

namespace {

struct Item {
    std::string_view name;
    std::string_view summary;
    std::string_view source;
};

template <typename Entry>
std::vector<Item> items_of(std::span<const Entry> entries) {
    std::vector<Item> items;
    for (const Entry& entry : entries) items.push_back({entry.name, entry.summary, entry.source});
    return items;
}

struct Family {
    std::string_view name;
    std::vector<Item> (*items)();
};

constexpr Family kFamilies[] = {
    {"optimizers", [] { return items_of(model::optimizers()); }},
    {"schedules", [] { return items_of(model::schedules()); }},
    {"algorithms", [] { return items_of(federation::algorithms()); }},
    {"averaging", [] { return items_of(gossip::averagings()); }},
    {"topologies", [] { return items_of(gossip::topologies()); }},
    {"codecs", [] { return items_of(gossip::codecs()); }},
    {"presets", [] { return items_of(model::model_presets()); }},
};

std::vector<std::string> family_names() {
    std::vector<std::string> names;
    for (const auto& family : kFamilies) names.emplace_back(family.name);
    return names;
}

class ListCommand : public Command {
  public:
    void declare(CLI::App& app) override {
        app.add_option("family", family_, fmt::format("{}", fmt::join(family_names(), ", ")))
            ->required()
            ->type_name("FAMILY");
    }

    Result<Outcome> run(Session& session) override {
        const auto* family = std::find_if(std::begin(kFamilies), std::end(kFamilies),
                                          [&](const Family& f) { return f.name == family_; });
        if (family == std::end(kFamilies)) {
            const std::string close = nearest(family_, family_names());
            return Error{
                ErrorCode::invalid,
                fmt::format("list {}: expected one of {}{}", family_, fmt::join(family_names(), ", "),
                            close.empty() ? "" : "; did you mean " + close + "?")};
        }
        nlohmann::json items = nlohmann::json::array();
        for (const Item& item : family->items()) {
            session.print(fmt::format("{:<22} {}  [{}]", item.name, item.summary, item.source));
            items.push_back({{"name", item.name}, {"summary", item.summary}, {"source", item.source}});
        }
        return Outcome{nlohmann::json{{"items", std::move(items)}}.dump()};
    }

  private:
    std::string family_;
};

}  // namespace

std::unique_ptr<Command> make_list_command() { return std::make_unique<ListCommand>(); }

}  // namespace Atoll::node
