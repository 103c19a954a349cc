#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/files.h"
#include "gossip/topology/circulant.h"
#include "gossip/topology/properties.h"
#include "node/command.h"
#include "node/topology_plot.h"

namespace Atoll::node {

namespace {

constexpr std::int64_t kNodesMax = 20000;
constexpr std::int64_t kRoundsMax = 100000;
constexpr std::size_t kRoundsPrinted = 32;
constexpr std::size_t kTermsPrinted = 8;
constexpr std::size_t kRoundsPlotted = 40;
constexpr std::size_t kMessagesPlotted = 100'000'000;  // of one curve: a fraction of a second

using Items = std::vector<std::string>;

std::string joined(const Items& items, std::size_t count) {
    std::string line;
    for (const std::string& item : items) line += (line.empty() ? "" : "  ") + item;
    if (count > items.size()) line += fmt::format("  .. {} in all", count);
    return line.empty() ? "nobody sends" : line;
}

// "-5: 0.3333  0: 0.3333  +5: 0.3333": member i gets these shares of what i - 5, i and i + 5 have.
std::string taps_text(const gossip::CirculantRound& round, std::size_t n) {
    std::vector<std::pair<std::int64_t, double>> taps;
    for (const auto& [offset, weight] : round) {
        const auto ahead = static_cast<std::int64_t>(offset);
        taps.emplace_back(2 * offset > n ? ahead - static_cast<std::int64_t>(n) : ahead, weight);
    }
    std::ranges::sort(taps);
    Items items;
    for (const auto& [offset, weight] : taps) {
        if (items.size() == kTermsPrinted) break;
        items.push_back(offset == 0 ? fmt::format("0: {:.4f}", weight)
                                    : fmt::format("{:+}: {:.4f}", offset, weight));
    }
    return joined(items, taps.size());
}

// "0-3: 0.5000  1>4: 0.2500": 0 and 3 give each other a half, 1 gives 4 a quarter.
std::string links_text(const gossip::Topology& topology, const gossip::Roster& roster, std::size_t round) {
    Items items;
    std::size_t count = 0;
    for (std::size_t i = 0; i < roster.n; ++i) {
        const gossip::Exchange exchange = topology.exchange(roster, i, round);
        for (const gossip::Edge& edge : exchange.send) {
            const auto back =
                std::ranges::lower_bound(exchange.receive, edge.member, {}, &gossip::Edge::member);
            const bool both =
                back != exchange.receive.end() && back->member == edge.member && back->weight == edge.weight;
            if (both && edge.member < i) continue;
            if (count++ < kTermsPrinted)
                items.push_back(fmt::format("{}{}{}: {:.4f}", i, both ? '-' : '>', edge.member, edge.weight));
        }
    }
    return joined(items, count);
}

template <typename T>
nlohmann::json or_null(const std::optional<T>& value) {
    return value ? nlohmann::json(*value) : nlohmann::json(nullptr);
}

std::string or_dash(const std::optional<double>& value) {
    return value ? fmt::format("{:.3g}", *value) : "-";
}

const char* yes_no(bool value) { return value ? "yes" : "no"; }

// A mixing schedule: its rounds, its properties, a picture.
class TopologyCommand : public Command {
  public:
    void declare(CLI::App& app) override {
        app.add_option("name", name_, "topology (atoll list topologies)")->required()->type_name("NAME");
        app.add_option("--nodes", nodes_, "members, 1 to 20000")->type_name("N");
        app.add_option("--degree", degree_, "peers a round (default: the fewest the topology takes)")
            ->type_name("K");
        app.add_option("--rounding", rounding_, "k_peer_exponential: ceil, or floor as in the paper")
            ->capture_default_str()
            ->check(CLI::IsMember({"ceil", "floor"}));
        app.add_option("--order", order_, "null_cascade: reordered, or paper")
            ->capture_default_str()
            ->check(CLI::IsMember({"reordered", "paper"}));
        app.add_option("--region-sizes", region_sizes_, "hierarchical: members of each region, as 3,5,8")
            ->delimiter(',')
            ->type_name("S,S,..");
        app.add_option("--interval", interval_,
                       "hierarchical: averagings from one across regions to the next")
            ->capture_default_str();
        app.add_option(
               "--rounds", rounds_,
               "rounds of consensus_error[] (default: a period): the mean of (x - mean)^2 after each, "
               "from N(0, 1) drawn with --seed, over 100 trials (fewer above 163 nodes)")
            ->type_name("N");
        app.add_option("--plot", plot_,
                       "write an SVG: the graph of each round, and the error beside the other "
                       "topologies'")
            ->type_name("FILE.svg");
    }

    Result<Outcome> run(Session& session) override {
        ATOLL_ASSIGN(const gossip::Roster roster, make_roster());
        ATOLL_TRY(check_numbers());
        const auto entry = std::ranges::find(gossip::topologies(), name_, &gossip::TopologyEntry::name);
        const bool known = entry != gossip::topologies().end();
        gossip::TopologyOptions options = common_options(session);
        options.degree = degree_.value_or(known ? std::max<std::int64_t>(entry->degree_min, 1) : 1);
        ATOLL_ASSIGN(const auto topology, gossip::make_topology(name_, options));
        const gossip::ScheduleProperties properties = gossip::measure(*topology, roster);
        const std::size_t period = topology->period(roster);
        const std::size_t rounds = std::max(period, topology->rounds(roster));
        const std::size_t shown = rounds_ && roster.n > 1 ? static_cast<std::size_t>(*rounds_) : rounds;
        const std::vector<double> errors = gossip::consensus_errors(*topology, roster, shown, options.seed);

        nlohmann::json json = {
            {"name", name_},
            {"nodes", roster.n},
            {"rules", topology->rules()},
            {"rounds", topology->rounds(roster)},
            {"period", period > 0 || roster.n == 1 ? nlohmann::json(period) : nlohmann::json(nullptr)},
            {"degree_max", properties.degree_max},
            {"exact", topology->exact(roster)},
            {"product_error", or_null(properties.product_error)},
            {"sigma", or_null(properties.sigma)},
            {"commutes", or_null(properties.commutes)},
            {"doubly_stochastic", properties.doubly_stochastic},
            {"consensus_error", errors},
            {"trials", gossip::consensus_trials(roster.n)}};
        if (!session.flags().json) print(session, *topology, roster, properties, errors);
        if (!plot_.empty()) {
            const TopologyPlot plot = make_plot(session, *topology, roster, properties, options, rounds);
            ATOLL_TRY(write_file(plot_, std::string_view(topology_svg(plot))));
            session.note("wrote " + plot_);
            json["plot"] = plot_;
        }
        return Outcome{json.dump()};
    }

  private:
    [[nodiscard]] Result<gossip::Roster> make_roster() const {
        const auto invalid = [](std::string message) {
            return Error{ErrorCode::invalid, std::move(message)};
        };
        if (!region_sizes_.empty()) {
            if (name_ != "hierarchical")
                return invalid("--region-sizes with topology " + name_ + ": expected topology hierarchical");
            std::vector<std::size_t> sizes;
            std::int64_t sum = 0;
            for (const std::int64_t size : region_sizes_) {
                if (size < 1 || size > kNodesMax)
                    return invalid(
                        fmt::format("--region-sizes {}: expected 1 to {} members each", size, kNodesMax));
                sizes.push_back(static_cast<std::size_t>(size));
                sum += size;
            }
            if (nodes_ && *nodes_ != sum)
                return invalid(fmt::format("--nodes {} but --region-sizes has {} members", *nodes_, sum));
            if (sum > kNodesMax)
                return invalid(
                    fmt::format("--region-sizes: {} members: expected at most {}", sum, kNodesMax));
            return gossip::Roster::of_sizes(sizes);
        }
        if (!nodes_) return invalid("--nodes is missing: expected the number of members, as --nodes 16");
        if (*nodes_ < 1 || *nodes_ > kNodesMax)
            return invalid(fmt::format("--nodes {}: expected 1 to {}", *nodes_, kNodesMax));
        return gossip::Roster(static_cast<std::size_t>(*nodes_));
    }

    [[nodiscard]] Status check_numbers() const {
        if (interval_ < 1 || interval_ > 1000) {
            return Error{ErrorCode::invalid, fmt::format("--interval {}: expected 1 to 1000", interval_)};
        }
        if (rounds_ && (*rounds_ < 1 || *rounds_ > kRoundsMax)) {
            return Error{ErrorCode::invalid,
                         fmt::format("--rounds {}: expected 1 to {}", *rounds_, kRoundsMax)};
        }
        return {};
    }

    [[nodiscard]] gossip::TopologyOptions common_options(const Session& session) const {
        return {.seed = static_cast<std::uint64_t>(session.flags().seed.value_or(1)),
                .rounding_up = rounding_ == "ceil",
                .reordered = order_ == "reordered",
                .interval = interval_};
    }

    void print(Session& session, const gossip::Topology& topology, const gossip::Roster& roster,
               const gossip::ScheduleProperties& properties, const std::vector<double>& errors) const {
        const std::size_t period = topology.period(roster);
        session.print(title(topology, roster));
        session.print(summary(topology, roster, properties));
        session.print(fmt::format("product error {}, sigma {}, commutes: {}, doubly stochastic: {}",
                                  or_dash(properties.product_error), or_dash(properties.sigma),
                                  properties.commutes ? yes_no(*properties.commutes) : "-",
                                  yes_no(properties.doubly_stochastic)));
        if (errors.empty()) return;
        const auto* const circulant = dynamic_cast<const gossip::CirculantTopology*>(&topology);
        session.print(circulant != nullptr ? "round      error  i receives from i + offset: share"
                                           : "round      error  pairs (-) and messages (>): share");
        for (std::size_t round = 0; round < std::min(errors.size(), kRoundsPrinted); ++round) {
            std::string what;
            if (circulant != nullptr) {
                what = taps_text((*circulant->schedule(roster.n))[round % period], roster.n);
            } else {
                what = links_text(topology, roster, round);
            }
            session.print(fmt::format("{:>5}  {:>9.3g}  {}", round + 1, errors[round], what));
        }
        if (errors.size() > kRoundsPrinted)
            session.print(
                fmt::format("   ..  {} rounds in all, {:.3g} at the end", errors.size(), errors.back()));
    }

    static std::string title(const gossip::Topology& topology, const gossip::Roster& roster) {
        return fmt::format("{}, {} node{}", topology.rules(), roster.n, roster.n == 1 ? "" : "s");
    }

    static std::string summary(const gossip::Topology& topology, const gossip::Roster& roster,
                               const gossip::ScheduleProperties& properties) {
        const std::size_t period = topology.period(roster);
        const std::size_t rounds = topology.rounds(roster);
        std::string text = fmt::format("{} round{} an averaging, ", rounds, rounds == 1 ? "" : "s");
        if (period == 0 && roster.n > 1) {
            text += "never the same, ";
        } else if (period > rounds) {
            text += fmt::format("repeating after {}, ", period);
        }
        text += fmt::format("at most {} peer{} at once, ", properties.degree_max,
                            properties.degree_max == 1 ? "" : "s");
        return text + (topology.exact(roster) ? "the exact mean" : "not the exact mean");
    }

    [[nodiscard]] TopologyPlot make_plot(const Session& session, const gossip::Topology& topology,
                                         const gossip::Roster& roster,
                                         const gossip::ScheduleProperties& properties,
                                         const gossip::TopologyOptions& options, std::size_t rounds) const {
        const std::size_t plotted = std::clamp<std::size_t>(rounds + 1, 8, kRoundsPlotted);
        TopologyPlot plot{.title = title(topology, roster),
                          .subtitle = summary(topology, roster, properties),
                          .topology = topology,
                          .roster = roster,
                          .rounds = rounds,
                          .curves = {}};
        if (roster.n < 2) return plot;
        plot.curves.push_back({name_, gossip::consensus_errors(topology, roster, plotted, options.seed)});
        for (const gossip::TopologyEntry& entry : gossip::topologies()) {
            if (entry.name == name_) continue;
            if (entry.name == "hierarchical" && roster.regions.empty()) continue;  // it is `full` then
            gossip::TopologyOptions others = options;
            others.degree =
                entry.degree_max > 0 ? std::clamp(options.degree, entry.degree_min, entry.degree_max) : 1;
            const auto other = entry.make(others);
            const std::size_t messages = roster.n * other->exchange(roster, 0, 0).send.size() * plotted;
            if (messages > kMessagesPlotted) {
                session.note(fmt::format("not in the plot: {} ({} messages)", entry.name, messages));
                continue;
            }
            std::string label(entry.name);
            if (entry.degree_max > 1) label += fmt::format(", k = {}", others.degree);
            plot.curves.push_back({label, gossip::consensus_errors(*other, roster, plotted, options.seed)});
        }
        return plot;
    }

    std::string name_;
    std::optional<std::int64_t> nodes_;
    std::optional<std::int64_t> degree_;
    std::optional<std::int64_t> rounds_;
    std::string rounding_ = "ceil";
    std::string order_ = "reordered";
    std::vector<std::int64_t> region_sizes_;
    std::int64_t interval_ = 1;
    std::string plot_;
};

}  // namespace

std::unique_ptr<Command> make_topology_command() { return std::make_unique<TopologyCommand>(); }

}  // namespace Atoll::node
