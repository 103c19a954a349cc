// The ledger of push-sum, alone: decisions are made once and repeated, and no mass is lost or doubled in
// 10,000 random histories of losses, repetitions, delays, refusals and deaths.
#include "gossip/averaging/ledger.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/rng.h"

namespace Atoll::gossip {
namespace {

constexpr double kForever = std::numeric_limits<double>::infinity();

PeerId peer(std::size_t index) {
    PeerId id;
    id.key[0] = static_cast<std::byte>(index + 1);
    return id;
}

Parcel parcel(std::size_t from, std::uint64_t sequence, std::uint64_t round = 0, std::uint32_t stage = 0) {
    return {peer(from), MixShare{.round = round, .stage = stage, .sequence = sequence, .weight = 0.5}, {}};
}

std::vector<std::uint64_t> sequences(const std::vector<Parcel>& parcels) {
    std::vector<std::uint64_t> list;
    for (const Parcel& p : parcels) list.push_back(p.share.sequence);
    return list;
}

TEST(Ledger, An_accepted_share_is_settled_and_a_refused_or_withdrawn_one_comes_home) {
    Ledger ledger(peer(0), 10);
    const auto a = ledger.send(peer(1), {.weight = 0.1}, {}, 5);
    const auto b = ledger.send(peer(2), {.weight = 0.2}, {}, 5);
    const auto c = ledger.send(peer(3), {.weight = 0.3}, {}, 5);
    EXPECT_EQ(ledger.pending(), 3U);
    EXPECT_TRUE(ledger.on_receipt(peer(1), {a, ReceiptKind::accepted, ""}));
    EXPECT_TRUE(ledger.on_receipt(peer(2), {b, ReceiptKind::refused, "no"}));
    EXPECT_TRUE(ledger.on_receipt(peer(3), {c, ReceiptKind::withdrawn, ""}));
    EXPECT_EQ(ledger.pending(), 0U);
    const auto home = ledger.collect(0, 0);
    EXPECT_EQ(sequences(home), (std::vector<std::uint64_t>{b, c}));
    EXPECT_EQ(home[0].from, peer(0));
    EXPECT_EQ(home[0].share.weight, 0.2);
    EXPECT_TRUE(ledger.collect(9, 9).empty());
}

TEST(Ledger, A_receipt_counts_once_and_only_from_the_one_who_got_the_share) {
    Ledger ledger(peer(0), 10);
    const auto a = ledger.send(peer(1), {}, {}, 5);
    EXPECT_FALSE(ledger.on_receipt(peer(2), {a, ReceiptKind::refused, ""}));
    EXPECT_FALSE(ledger.on_receipt(peer(1), {a + 1, ReceiptKind::refused, ""}));
    EXPECT_TRUE(ledger.on_receipt(peer(1), {a, ReceiptKind::refused, ""}));
    EXPECT_FALSE(ledger.on_receipt(peer(1), {a, ReceiptKind::refused, ""}));
    EXPECT_EQ(ledger.collect(0, 0).size(), 1U);
}

TEST(Ledger, A_pending_share_is_sent_again_as_it_was_and_not_without_end) {
    Ledger ledger(peer(0), 10);
    const auto a = ledger.send(peer(1), {.round = 3, .stage = 1, .weight = 0.25}, {}, 5);
    EXPECT_FALSE(ledger.resend(peer(2), 3, 1)) << "another's";
    EXPECT_FALSE(ledger.resend(peer(1), 3, 0)) << "of another stage";
    std::size_t times = 0;
    while (const auto again = ledger.resend(peer(1), 3, 1)) {
        EXPECT_EQ(again->share.sequence, a);
        EXPECT_EQ(again->share.weight, 0.25);
        ASSERT_LE(++times, 10U);
    }
    EXPECT_GE(times, 3U);
    EXPECT_TRUE(ledger.on_receipt(peer(1), {a, ReceiptKind::accepted, ""}));
    EXPECT_FALSE(ledger.resend(peer(1), 3, 1)) << "settled";
    EXPECT_EQ(ledger.pending(), 0U);
}

TEST(Ledger, Decisions_are_repeated_not_made_again) {
    Ledger ledger(peer(0), 0);
    EXPECT_FALSE(ledger.decided(peer(1), 4));
    EXPECT_EQ(ledger.accept(parcel(1, 4)).kind, ReceiptKind::accepted);
    EXPECT_EQ(ledger.decided(peer(1), 4)->kind, ReceiptKind::accepted);
    EXPECT_EQ(ledger.on_withdraw(peer(1), 4).kind, ReceiptKind::accepted) << "too late: it is ours";
    EXPECT_EQ(ledger.refuse(peer(1), 5, "why").kind, ReceiptKind::refused);
    EXPECT_EQ(ledger.on_withdraw(peer(1), 5).reason, "why");
    EXPECT_EQ(ledger.on_withdraw(peer(1), 6).kind, ReceiptKind::withdrawn);
    EXPECT_EQ(ledger.decided(peer(1), 6)->kind, ReceiptKind::withdrawn) << "the share may still arrive";
    EXPECT_FALSE(ledger.decided(peer(2), 4)) << "sequences belong to their sender";
}

TEST(Ledger, A_withdrawn_share_that_was_held_is_never_taken) {
    Ledger ledger(peer(0), 0);
    EXPECT_TRUE(ledger.hold(parcel(1, 4, 3), 2));
    EXPECT_TRUE(ledger.hold(parcel(1, 4, 3), 2)) << "the same again";
    EXPECT_TRUE(ledger.hold(parcel(1, 5, 3), 2));
    EXPECT_FALSE(ledger.hold(parcel(1, 6, 3), 2)) << "one too many";
    EXPECT_EQ(ledger.on_withdraw(peer(1), 4).kind, ReceiptKind::withdrawn);
    EXPECT_TRUE(ledger.release(2).empty());
    EXPECT_EQ(sequences(ledger.release(3)), (std::vector<std::uint64_t>{5}));
    EXPECT_TRUE(ledger.release(3).empty());
}

TEST(Ledger, Reminders_come_at_the_deadline_and_again) {
    Ledger ledger(peer(0), 1);
    EXPECT_EQ(ledger.next_reminder(), kForever);
    const auto a = ledger.send(peer(1), {}, {}, 5);
    const auto b = ledger.send(peer(2), {}, {}, 6);
    EXPECT_EQ(ledger.next_reminder(), 5);
    EXPECT_TRUE(ledger.reminders(4.9, 2).empty());
    EXPECT_EQ(ledger.reminders(5, 2).at(0).sequence, a);
    EXPECT_TRUE(ledger.reminders(5, 2).empty());
    EXPECT_EQ(ledger.reminders(6, 2).at(0).sequence, b);
    EXPECT_EQ(ledger.reminders(8, 2).size(), 2U);
    EXPECT_TRUE(ledger.on_receipt(peer(1), {a, ReceiptKind::accepted, ""}));
    EXPECT_EQ(ledger.reminders(100, 2).size(), 1U);
}

TEST(Ledger, Mass_comes_home_when_its_receiver_leaves_the_view) {
    Ledger ledger(peer(0), 1);
    const auto a = ledger.send(peer(1), {}, {}, 5);
    (void)ledger.send(peer(2), {}, {}, 5);
    ledger.on_view({.members = {peer(0), peer(2)}});
    EXPECT_EQ(sequences(ledger.collect(0, 0)), (std::vector<std::uint64_t>{a}));
    EXPECT_EQ(ledger.pending(), 1U);
    EXPECT_FALSE(ledger.on_receipt(peer(1), {a, ReceiptKind::withdrawn, ""})) << "it is home already";
    EXPECT_TRUE(ledger.collect(9, 9).empty());
}

TEST(Ledger, Parcels_come_out_when_due_in_an_order_that_does_not_depend_on_arrival) {
    const std::vector<Parcel> arrivals = {parcel(3, 7, 1, 0), parcel(1, 9, 1, 0), parcel(2, 8, 1, 1),
                                          parcel(1, 5, 0, 2)};
    for (const bool reverse : {false, true}) {
        Ledger ledger(peer(0), 1);
        for (std::size_t i = 0; i < arrivals.size(); ++i) {
            (void)ledger.accept(arrivals[reverse ? arrivals.size() - 1 - i : i]);
        }
        EXPECT_EQ(sequences(ledger.collect(1, 0)), (std::vector<std::uint64_t>{5, 9, 7}));
        EXPECT_EQ(sequences(ledger.collect(1, 1)), (std::vector<std::uint64_t>{8}));
    }
}

TEST(Ledger, One_share_a_stage_is_taken_and_remembered_until_the_round_after_next) {
    Ledger ledger(peer(0), 1);
    (void)ledger.accept(parcel(1, 5, 3, 2));
    EXPECT_TRUE(ledger.took(peer(1), 3, 2));
    EXPECT_FALSE(ledger.took(peer(1), 3, 1));
    EXPECT_FALSE(ledger.took(peer(2), 3, 2));
    ledger.begin_round(4);
    EXPECT_TRUE(ledger.took(peer(1), 3, 2));
    ledger.begin_round(5);
    EXPECT_FALSE(ledger.took(peer(1), 3, 2));
}

TEST(Ledger, A_decision_that_can_be_asked_for_is_never_forgotten) {
    Ledger sender(peer(0), 0);
    Ledger receiver(peer(1), 0);
    const auto first = sender.send(peer(1), {}, {}, 5);  // taken, but the receipt is lost
    (void)receiver.accept(parcel(0, first));
    int sent = 0;
    while (sender.can_send(peer(1))) {
        const auto sequence = sender.send(peer(1), {}, {}, 5);
        (void)sender.on_receipt(peer(1), receiver.refuse(peer(0), sequence, ""));
        ASSERT_LT(++sent, 100000);
    }
    EXPECT_TRUE(sender.can_send(peer(2)));
    EXPECT_EQ(receiver.on_withdraw(peer(0), first).kind, ReceiptKind::accepted);
    EXPECT_TRUE(sender.on_receipt(peer(1), {first, ReceiptKind::accepted, ""}));
    EXPECT_TRUE(sender.can_send(peer(1)));
}

TEST(Ledger, A_share_from_before_all_memory_is_never_taken) {
    Ledger ledger(peer(0), 0);
    (void)ledger.refuse(peer(1), 1'000'000, "");
    ASSERT_TRUE(ledger.decided(peer(1), 3));
    EXPECT_EQ(ledger.decided(peer(1), 3)->kind, ReceiptKind::refused);
    EXPECT_FALSE(ledger.decided(peer(1), 999'999));
}

// ---- random histories ----

struct Mass {
    double weight = 0;
    double value = 0;
    void operator+=(const Mass& other) {
        weight += other.weight;
        value += other.value;
    }
    void operator-=(const Mass& other) {
        weight -= other.weight;
        value -= other.value;
    }
};

// Members with one scalar each over a network that loses, repeats and reorders everything. The test keeps
// books of its own on where each share ended.
class History {
  public:
    explicit History(std::uint64_t seed) : rng_(Rng(seed).split("history")) {
        const std::size_t n = 2 + rng_.below(5);
        for (std::size_t i = 0; i < n; ++i) {
            members_.push_back({Ledger(peer(i), 1000 * i), {1, rng_.normal()}, true, {}});
            for (std::size_t j = 0; j < n; ++j) members_[i].view.members.push_back(peer(j));
            expected_ += members_[i].own;
        }
    }

    void live(int steps) {
        for (int step = 0; step < steps; ++step) {
            const std::size_t i = rng_.below(members_.size());
            switch (rng_.below(10)) {
                case 0:
                case 1: send(i); break;
                case 2: collect(i); break;
                case 3:
                    clock_ += rng_.uniform();
                    remind(i);
                    break;
                case 4:
                    if (rng_.below(4) == 0) {
                        ++round_;
                        begin_round();
                    }
                    break;
                case 5:
                    if (rng_.below(30) == 0) die(i);
                    break;
                case 6:
                    if (rng_.below(3) == 0) notice_deaths(i);
                    break;
                default: deliver(true); break;
            }
        }
    }

    // No more losses; everything that is pending is asked for until it is settled.
    void settle() {
        ++round_;
        begin_round();
        for (std::size_t i = 0; i < members_.size(); ++i) notice_deaths(i);
        for (int pass = 0; pass < 5; ++pass) {
            while (!wire_.empty()) deliver(false);
            clock_ += 10;
            for (std::size_t i = 0; i < members_.size(); ++i) remind(i);
        }
        while (!wire_.empty()) deliver(false);
        for (std::size_t i = 0; i < members_.size(); ++i) collect(i);
    }

    void check() {
        // Shares that the dead had pending and nobody took are gone with them.
        for (const auto& [sequence, share] : shares_) {
            if (!members_[share.from].alive && !share.accepted && !share.settled) expected_ -= share.mass;
        }
        Mass total;
        for (const Member& member : members_) {
            if (!member.alive) continue;
            EXPECT_EQ(member.ledger.pending(), 0U);
            total += member.own;
        }
        EXPECT_NEAR(total.weight, expected_.weight, 1e-9);
        EXPECT_NEAR(total.value, expected_.value, 1e-9);
    }
    [[nodiscard]] std::size_t shares() const { return shares_.size(); }

  private:
    struct Member {
        Ledger ledger;
        Mass own;
        bool alive;
        View view;
    };
    struct Share {
        std::size_t from;
        std::size_t to;
        Mass mass;
        bool accepted = false;
        bool settled = false;  // the sender knows what became of it
    };
    struct Letter {
        std::size_t from;
        std::size_t to;
        Body body;
        SharedBytes payload;
    };

    static Mass mass_of(const Parcel& p) {
        double estimate = 0;
        std::memcpy(&estimate, p.payload.data(), sizeof estimate);
        return {p.share.weight, p.share.weight * estimate};
    }

    void send(std::size_t i) {
        const std::size_t to = rng_.below(members_.size());
        Member& member = members_[i];
        if (to == i || !member.alive || !member.view.index_of(peer(to))) return;
        const double estimate = member.own.weight > 0 ? member.own.value / member.own.weight : 0;
        Bytes bytes(sizeof estimate);
        std::memcpy(bytes.data(), &estimate, sizeof estimate);
        const SharedBytes payload{std::move(bytes)};
        MixShare share{.round = round_ + rng_.below(2),
                       .stage = static_cast<std::uint32_t>(rng_.below(3)),
                       .weight = member.own.weight * rng_.uniform()};
        share.sequence = member.ledger.send(peer(to), share, payload, clock_ + 2);
        const Mass mass{share.weight, share.weight * estimate};
        member.own -= mass;
        if (rng_.below(20) == 0) {  // the host would not even take it
            member.ledger.unsend(share.sequence);
            member.own += mass;
            return;
        }
        shares_[share.sequence + 1'000'000 * i] = {i, to, mass};
        wire_.push_back({i, to, share, payload});
    }

    void deliver(bool faults) {
        if (wire_.empty()) return;
        const std::size_t at = rng_.below(wire_.size());
        const Letter letter = wire_[at];
        const bool again = faults && rng_.below(8) == 0;
        if (!again) wire_.erase(wire_.begin() + static_cast<std::ptrdiff_t>(at));
        if ((faults && rng_.below(5) == 0) || !members_[letter.to].alive) return;
        arrive(letter);
    }

    void arrive(const Letter& letter) {
        Member& member = members_[letter.to];
        const PeerId from = peer(letter.from);
        if (const auto* share = std::get_if<MixShare>(&letter.body)) {
            take(member, letter, *share);
        } else if (const auto* withdraw = std::get_if<MixWithdraw>(&letter.body)) {
            wire_.push_back(
                {letter.to, letter.from, member.ledger.on_withdraw(from, withdraw->sequence), {}});
        } else if (const auto* receipt = std::get_if<MixReceipt>(&letter.body)) {
            if (!member.ledger.on_receipt(from, *receipt)) return;
            Share& settled = shares_.at(receipt->sequence + 1'000'000 * letter.to);
            EXPECT_FALSE(settled.settled);
            EXPECT_EQ(settled.accepted, receipt->kind == ReceiptKind::accepted);
            settled.settled = true;
        }
    }

    void take(Member& member, const Letter& letter, const MixShare& share) {
        const PeerId from = peer(letter.from);
        std::optional<MixReceipt> receipt = member.ledger.decided(from, share.sequence);
        if (!receipt) {
            if (share.round > round_ && member.ledger.hold({from, share, letter.payload}, 4)) return;
            if (rng_.below(10) == 0 || share.round > round_) {
                receipt = member.ledger.refuse(from, share.sequence, "for the test");
            } else {
                receipt = member.ledger.accept({from, share, letter.payload});
                Share& taken = shares_.at(share.sequence + 1'000'000 * letter.from);
                EXPECT_FALSE(taken.accepted) << "taken twice";
                taken.accepted = true;
            }
        }
        wire_.push_back({letter.to, letter.from, *receipt, {}});
    }

    void remind(std::size_t i) {
        if (!members_[i].alive) return;
        for (const auto& [to, sequence] : members_[i].ledger.reminders(clock_, 1)) {
            wire_.push_back({i, static_cast<std::size_t>(to.key[0]) - 1, MixWithdraw{sequence}, {}});
        }
    }

    void begin_round() {
        for (std::size_t i = 0; i < members_.size(); ++i) {
            if (!members_[i].alive) continue;
            members_[i].ledger.begin_round(round_);
            for (Parcel& held : members_[i].ledger.release(round_)) {
                const std::size_t from = static_cast<std::size_t>(held.from.key[0]) - 1;
                take(members_[i], {from, i, held.share, held.payload}, held.share);
            }
        }
    }

    void collect(std::size_t i) {
        if (!members_[i].alive) return;
        for (const Parcel& p : members_[i].ledger.collect(round_, 2)) members_[i].own += mass_of(p);
    }

    void die(std::size_t i) {
        Member& member = members_[i];
        const auto alive = std::ranges::count_if(members_, [](const Member& m) { return m.alive; });
        if (!member.alive || alive <= 1) return;
        member.alive = false;
        expected_ -= member.own;
        for (const Parcel& p : member.ledger.collect(~std::uint64_t{0}, 9)) expected_ -= mass_of(p);
    }

    // What a dead member had taken but not acknowledged comes home to the sender: it exists again.
    void notice_deaths(std::size_t i) {
        Member& member = members_[i];
        if (!member.alive) return;
        View view;
        for (std::size_t j = 0; j < members_.size(); ++j) {
            if (members_[j].alive) view.members.push_back(peer(j));
        }
        for (auto& [sequence, share] : shares_) {
            if (share.from != i || share.settled || members_[share.to].alive) continue;
            if (share.accepted) expected_ += share.mass;
            share.settled = true;
        }
        member.view = view;
        member.ledger.on_view(view);
    }

    Rng rng_;
    double clock_ = 0;
    std::uint64_t round_ = 1;
    std::vector<Member> members_;
    std::map<std::uint64_t, Share> shares_;
    std::vector<Letter> wire_;
    Mass expected_;
};

TEST(Ledger, Mass_is_conserved_in_10000_random_histories) {
    std::size_t shares = 0;
    for (std::uint64_t seed = 0; seed < 10'000; ++seed) {
        History history(seed);
        history.live(200);
        history.settle();
        history.check();
        shares += history.shares();
        ASSERT_FALSE(testing::Test::HasFailure()) << "seed " << seed;
    }
    EXPECT_GT(shares, 100'000U);
}

}  // namespace
}  // namespace Atoll::gossip
