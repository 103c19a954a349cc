#include "node/topology_plot.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <numbers>

#include "gossip/topology/circulant.h"

namespace Atoll::node {

namespace {

// Everything in pixels of a page 960 wide.
constexpr double kWidth = 960;
constexpr double kMargin = 40;
constexpr double kHeader = 92;
constexpr double kPanelWidth = 176;
constexpr double kPanelHeight = 204;
constexpr double kPanelRadius = 70;
constexpr std::size_t kPanelsInRow = 5;
constexpr std::size_t kPanelsMax = 20;
constexpr std::size_t kMembersDrawn = 256;  // more dots than that are a line
constexpr std::size_t kLinksDrawn = 600;    // a panel; more are a grey disc
constexpr double kChartHeight = 340;
constexpr double kLegendWidth = 220;
constexpr std::size_t kSampleDrawn = 200;
constexpr int kDecades = 16;  // the axis ends at 1e-16: below is rounding

// Okabe and Ito's palette, told apart with any kind of colour blindness; without its yellow, which is too
// pale for lines on white. The dashes tell the second six from the first.
constexpr std::array kColours = {"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"};
constexpr std::array kDashes = {"", "7 4", "2 3"};
constexpr auto kInk = "#1b2733";
constexpr auto kFaint = "#6b7785";
constexpr auto kGrid = "#e3e8ee";

struct Point {
    double x = 0;
    double y = 0;
};

class Svg {
  public:
    template <typename... Args>
    void add(fmt::format_string<Args...> format, Args&&... args) {
        fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
        text_ += '\n';
    }
    void label(Point at, std::string_view text, std::string_view anchor, double size, std::string_view colour,
               std::string_view extra = "") {
        add(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="{}" font-size="{}" fill="{}"{}>{}</text>)", at.x,
            at.y, anchor, size, colour, extra, escaped(text));
    }
    [[nodiscard]] std::string take() { return std::move(text_); }

  private:
    static std::string escaped(std::string_view text) {
        std::string out;
        for (const char c : text) {
            switch (c) {
                case '&': out += "&amp;"; break;
                case '<': out += "&lt;"; break;
                case '>': out += "&gt;"; break;
                default: out += c;
            }
        }
        return out;
    }
    std::string text_;
};

// ---- the graph of a round ----

struct Link {
    std::size_t from = 0;
    std::size_t to = 0;
    double weight = 0;
    bool both_ways = false;
};

// Of so many members only every so-manieth is drawn, that the links do not blacken the circle.
std::size_t stride_of(const TopologyPlot& plot, std::size_t round) {
    if (plot.roster.n <= kMembersDrawn) return 1;
    const std::size_t messages = plot.roster.n * plot.topology.exchange(plot.roster, 0, round).send.size();
    return std::clamp<std::size_t>(messages / kSampleDrawn, 1, plot.roster.n);
}

std::vector<Link> links_of(const TopologyPlot& plot, std::size_t round, std::size_t stride) {
    std::vector<Link> links;
    for (std::size_t i = 0; i < plot.roster.n && links.size() <= kLinksDrawn; i += stride) {
        const gossip::Exchange exchange = plot.topology.exchange(plot.roster, i, round);
        for (const gossip::Edge& edge : exchange.send) {
            const bool back =
                std::ranges::binary_search(exchange.receive, edge.member, {}, &gossip::Edge::member);
            if (!back || stride > 1 || i < edge.member) links.push_back({i, edge.member, edge.weight, back});
        }
    }
    return links;
}

// Member 0 on top, then clockwise; regions apart from each other.
Point place(const TopologyPlot& plot, std::size_t member, Point centre) {
    const auto& regions = plot.roster.regions;
    double slot = static_cast<double>(member);
    double slots = static_cast<double>(plot.roster.n);
    if (!regions.empty()) {
        slot += regions[member];
        slots += *std::ranges::max_element(regions) + 1;
    }
    const double angle = 2 * std::numbers::pi * slot / slots - std::numbers::pi / 2;
    return {centre.x + kPanelRadius * std::cos(angle), centre.y + kPanelRadius * std::sin(angle)};
}

void draw_link(Svg& svg, const TopologyPlot& plot, const Link& link, Point centre, double dot,
               double thickness) {
    const Point a = place(plot, link.from, centre);
    const Point b = place(plot, link.to, centre);
    const double length = std::hypot(b.x - a.x, b.y - a.y);
    if (length < 2 * dot + 1) return;
    const Point along{(b.x - a.x) / length, (b.y - a.y) / length};
    const double tip = link.both_ways ? dot : dot + 4.5;  // room for the arrow's head
    svg.add(R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke-width="{:.2f}"{}/>)",
            a.x + along.x * dot, a.y + along.y * dot, b.x - along.x * tip, b.y - along.y * tip,
            thickness * (0.7 + 1.6 * std::min(link.weight, 0.5)),
            link.both_ways ? "" : R"~( marker-end="url(#head)")~");
}

// "from i − 1, i + 4" of a circulant round with few of them; else nothing.
std::string offsets_text(const TopologyPlot& plot, std::size_t round) {
    const auto* const circulant = dynamic_cast<const gossip::CirculantTopology*>(&plot.topology);
    if (circulant == nullptr) return {};
    const auto schedule = circulant->schedule(plot.roster.n);
    std::vector<std::size_t> offsets;
    for (const gossip::Tap& tap : (*schedule)[round]) {
        if (tap.offset != 0) offsets.push_back(tap.offset);
    }
    const std::size_t n = plot.roster.n;
    if (offsets.empty() || offsets.size() > 4) return {};
    const auto ahead = [&](std::size_t offset) { return 2 * offset <= n; };
    if (offsets.size() == 2 && offsets[0] + offsets[1] == n)
        return fmt::format("with i ± {}", std::min(offsets[0], offsets[1]));
    std::string text = "from i";
    for (const std::size_t offset : offsets)
        text += ahead(offset) ? fmt::format(" +{}", offset) : fmt::format(" −{}", n - offset);
    return text;
}

std::string links_text(std::size_t links, std::size_t one_way) {
    if (links > kLinksDrawn) return fmt::format("more than {} links", kLinksDrawn);
    if (links == 0) return "nobody sends";
    const std::size_t pairs = links - one_way;
    if (one_way == 0) return fmt::format("{} pair{}", pairs, pairs == 1 ? "" : "s");
    if (pairs == 0) return fmt::format("{} messages", one_way);
    return fmt::format("{} pairs, {} messages", pairs, one_way);
}

void draw_panel(Svg& svg, const TopologyPlot& plot, std::size_t round, Point corner) {
    const Point centre{corner.x + kPanelWidth / 2, corner.y + kPanelRadius + 12};
    const std::size_t n = plot.roster.n;
    const double spacing =
        2 * std::numbers::pi * kPanelRadius / static_cast<double>(std::max<std::size_t>(n, 1));
    const double dot = std::clamp(0.3 * spacing, 0.8, 4.5);
    const std::size_t stride = stride_of(plot, round);
    const std::vector<Link> links = links_of(plot, round, stride);
    std::size_t one_way = 0;
    for (const Link& link : links) one_way += link.both_ways ? 0 : 1;
    if (links.size() > kLinksDrawn) {
        svg.add(R"(<circle cx="{:.1f}" cy="{:.1f}" r="{:.1f}" fill="{}" fill-opacity="0.18"/>)", centre.x,
                centre.y, kPanelRadius - 2 * dot, kColours[0]);
    } else {
        svg.add(R"(<g stroke="{}" stroke-opacity="{:.2f}" fill="none">)", kColours[0],
                std::clamp(12.0 / std::sqrt(static_cast<double>(links.size()) + 1), 0.3, 0.9));
        // Many links are thin ones.
        const double thickness = std::clamp(7 / std::sqrt(static_cast<double>(links.size())), 0.4, 1.0);
        for (const Link& link : links) draw_link(svg, plot, link, centre, dot, thickness);
        svg.add("</g>");
    }
    if (n > kMembersDrawn) {
        svg.add(R"(<circle cx="{:.1f}" cy="{:.1f}" r="{:.1f}" fill="none" stroke="{}" stroke-width="2"/>)",
                centre.x, centre.y, kPanelRadius, kInk);
    }
    for (std::size_t i = 0; i < n && n <= kMembersDrawn; ++i) {
        const Point at = place(plot, i, centre);
        const bool hollow = !plot.roster.regions.empty() && plot.roster.regions[i] % 2 == 1;
        svg.add(R"(<circle cx="{:.1f}" cy="{:.1f}" r="{:.1f}" fill="{}" stroke="{}"/>)", at.x, at.y, dot,
                hollow ? "#ffffff" : kInk, kInk);
    }
    const double base = corner.y + 2 * kPanelRadius + 36;
    svg.label({centre.x, base}, fmt::format("round {}", round + 1), "middle", 13, kInk,
              R"( font-weight="600")");
    std::string what = offsets_text(plot, round);
    if (what.empty() && stride > 1) what = fmt::format("those of one member in {}", stride);
    if (what.empty()) what = links_text(links.size(), one_way);
    svg.label({centre.x, base + 16}, what, "middle", 11, kFaint);
}

// ---- the consensus curves ----

struct Frame {
    double left = 0;
    double top = 0;
    double right = 0;
    double bottom = 0;
    std::size_t rounds = 0;

    [[nodiscard]] Point at(std::size_t round, double error) const {
        const double decade = error > 0 ? std::clamp(-std::log10(error), 0.0, double(kDecades)) : kDecades;
        return {left + (right - left) * static_cast<double>(round) / static_cast<double>(rounds),
                top + (bottom - top) * decade / kDecades};
    }
};

std::string power_of_ten(int exponent) {
    static constexpr std::array kDigits = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
    std::string text = exponent < 0 ? "10⁻" : "10";
    for (const char digit : std::to_string(std::abs(exponent)))
        text += kDigits.at(static_cast<std::size_t>(digit - '0'));
    return text;
}

void draw_axes(Svg& svg, const Frame& frame) {
    for (int decade = 0; decade <= kDecades; decade += 2) {
        const double y = frame.at(0, std::pow(10.0, -decade)).y;
        svg.add(R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}"/>)", frame.left, y,
                frame.right, y, kGrid);
        svg.label({frame.left - 8, y + 4}, power_of_ten(-decade), "end", 11, kFaint);
    }
    const std::size_t step = std::max<std::size_t>(1, (frame.rounds + 11) / 12);
    for (std::size_t round = 0; round <= frame.rounds; round += step) {
        const double x = frame.at(round, 1).x;
        svg.add(R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}"/>)", x, frame.bottom, x,
                frame.bottom + 5, kFaint);
        svg.label({x, frame.bottom + 19}, std::to_string(round), "middle", 11, kFaint);
    }
    svg.add(R"(<line x1="{0:.1f}" y1="{2:.1f}" x2="{1:.1f}" y2="{2:.1f}" stroke="{3}"/>)", frame.left,
            frame.right, frame.bottom, kFaint);
    svg.label({(frame.left + frame.right) / 2, frame.bottom + 38}, "rounds", "middle", 12, kInk);
}

void draw_curve(Svg& svg, const Frame& frame, const ConsensusCurve& curve, std::size_t index,
                double legend_y) {
    const auto* const colour = kColours.at(index % kColours.size());
    const auto* const dash = kDashes.at(index / kColours.size() % kDashes.size());
    const bool own = index == 0;
    const std::string style = fmt::format(
        R"(fill="none" stroke="{}" stroke-width="{}" stroke-dasharray="{}" stroke-linejoin="round")", colour,
        own ? 3.5 : 1.6, *dash == 0 ? "none" : dash);
    std::string points;
    const auto add_point = [&](const Point& at) { points += fmt::format("{:.1f},{:.1f} ", at.x, at.y); };
    add_point(frame.at(0, 1));
    for (std::size_t round = 1; round <= frame.rounds; ++round) {
        add_point(frame.at(round, curve.errors[round - 1]));
        // Where a curve reaches the mean it ends: what follows is rounding.
        if (curve.errors[round - 1] < std::pow(10.0, -kDecades)) {
            const Point end = frame.at(round, 0);
            svg.add(R"(<circle cx="{:.1f}" cy="{:.1f}" r="{}" fill="{}"/>)", end.x, end.y, own ? 5 : 3.5,
                    colour);
            break;
        }
    }
    svg.add(R"(<polyline points="{}" {}/>)", points, style);
    const double x = frame.right + 28;
    svg.add(R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" {}/>)", x, legend_y - 4, x + 26,
            legend_y - 4, style);
    svg.label({x + 34, legend_y}, curve.name, "start", 12, kInk, own ? R"( font-weight="600")" : "");
}

void draw_chart(Svg& svg, const TopologyPlot& plot, double top) {
    if (plot.curves.empty() || plot.curves.front().errors.empty()) return;
    const Frame frame{kMargin + 44, top + 44, kWidth - kMargin - kLegendWidth, top + kChartHeight - 44,
                      plot.curves.front().errors.size()};
    svg.label({kMargin, top + 18}, "Disagreement that is left", "start", 16, kInk, R"( font-weight="600")");
    svg.label({kWidth - kMargin, top + 18}, "mean of (x − mean)², from N(0, 1); a dot: less than 10⁻¹⁶",
              "end", 12, kFaint);
    draw_axes(svg, frame);
    // The own curve last, on top; names in the order in which the curves end.
    std::vector<std::size_t> order(plot.curves.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    const auto reached = [&](std::size_t index) {
        const auto& errors = plot.curves[index].errors;
        const auto first =
            std::ranges::find_if(errors, [](double e) { return e < std::pow(10.0, -kDecades); });
        return std::pair(first - errors.begin(), errors.back());
    };
    std::ranges::stable_sort(order, std::ranges::greater{}, reached);
    const double spacing = std::min(24.0, (frame.bottom - frame.top) / static_cast<double>(order.size()));
    const auto legend_y = [&](std::size_t position) {
        return frame.top + 12 + spacing * static_cast<double>(position);
    };
    for (std::size_t position = 0; position < order.size(); ++position) {
        if (order[position] != 0)
            draw_curve(svg, frame, plot.curves[order[position]], order[position], legend_y(position));
    }
    const auto own = static_cast<std::size_t>(std::ranges::find(order, std::size_t{0}) - order.begin());
    draw_curve(svg, frame, plot.curves.front(), 0, legend_y(own));
}

}  // namespace

std::string topology_svg(const TopologyPlot& plot) {
    const std::size_t panels = std::min(plot.rounds, kPanelsMax);
    const std::size_t rows = (panels + kPanelsInRow - 1) / kPanelsInRow;
    const std::size_t columns = rows > 0 ? (panels + rows - 1) / rows : 1;  // rows of about the same length
    const double chart_top = kHeader + static_cast<double>(rows) * kPanelHeight + 16;
    const double height = chart_top + kChartHeight;
    Svg svg;
    svg.add(
        R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1:.0f}" width="{0}" height="{1:.0f}" )"
        R"(font-family="system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif" role="img">)",
        kWidth, height);
    svg.add(
        R"(<defs><marker id="head" viewBox="0 0 8 8" refX="1" refY="4" markerWidth="6.5" markerHeight="6.5" )"
        R"(markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0.6L8 4L0 7.4z" fill="{}"/></marker></defs>)",
        kColours[0]);
    svg.add(R"(<rect width="100%" height="100%" fill="#ffffff"/>)");
    svg.label({kMargin, 44}, plot.title, "start", 24, kInk, R"( font-weight="700")");
    svg.label({kMargin, 68}, plot.subtitle, "start", 13, kFaint);
    for (std::size_t round = 0; round < panels; ++round) {
        const auto column = static_cast<double>(round % columns);
        const auto row = static_cast<double>(round / columns);
        draw_panel(svg, plot, round, {kMargin + column * kPanelWidth, kHeader + row * kPanelHeight});
    }
    if (plot.rounds > panels) {
        svg.label({kWidth - kMargin, chart_top - 8}, fmt::format("and {} more rounds", plot.rounds - panels),
                  "end", 12, kFaint);
    }
    draw_chart(svg, plot, chart_top);
    svg.add("</svg>");
    return svg.take();
}

}  // namespace Atoll::node
