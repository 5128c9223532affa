// Random lives of one device: whatever it reports, and whatever befalls the messages on their way, a site that only applies what it was sent
// ends with the agent's state.
#include "tests/workers/site_of_one.h"
#include "workers/baseline_form.h"
#include "workers/resync.h"

#include "greengate/v1/frame.pb.h"
#include "greengate/v1/report.pb.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <iostream>
#include <optional>
#include <random>
#include <set>

namespace greengate::test {
namespace {

using namespace workers;
using Fate = SiteOfOne::Fate;

constexpr const char* door = "MP_HinvEndpoint";
constexpr std::uint32_t kind = v1::KIND_HARDWARE_INVENTORY;
const std::map<std::string, std::vector<std::string>> keys{{"Disk", {"ID"}}, {"Line", {"Port", "Bus"}}, {"Package", {"ID"}}};
const std::vector<std::pair<std::string, std::string>> churning{{"Disk", "Free"}, {"System", "Load"}, {"Package", "Used"}};

// What happens next; each step lets everything arrive unless it says otherwise.
enum class Step : std::uint8_t {
  report, report_and_wait, report_again, report_churned, resync, pass_a_month, lose_baseline, replay_letters,
  answer_lost, message_lost, refused, refused_but_taken, settling_fails, lease_lost, answer_lost_and_baseline_lost,
  count
};
struct Move {
  std::uint8_t step = 0;
  std::uint32_t seed = 0;  ///< Of the state it reports.
};
std::ostream& operator<<(std::ostream& out, const Move& move) { return out << int{move.step} << ":" << move.seed; }

// A machine that changes a little at a time.
class Machine {
 public:
  v1::HardwareInventory look(std::uint32_t seed, bool only_churn) {
    std::mt19937 dice(seed);
    const auto chance = [&](unsigned in) { return dice() % in == 0; };
    if (!only_churn) {
      const unsigned changes = dice() % 4;
      for (unsigned i = 0; i < changes; ++i) {
        switch (dice() % 6) {
          case 0: disks_[text(dice, 6)] = text(dice, 3); break;
          case 1: disks_.erase(text(dice, 6)); break;
          case 2: lines_[{text(dice, 3), text(dice, 2)}] = text(dice, 3); break;
          case 3: lines_.erase({text(dice, 3), text(dice, 2)}); break;
          case 4: systems_ = std::vector<std::string>(dice() % 3, text(dice, 3)); break;
          case 5: packages_[text(dice, 8)] = text(dice, 3); break;
        }
      }
      if (chance(25)) disks_.clear();
    }
    v1::HardwareInventory state;
    // Columns move about, and sometimes a class could not be looked at.
    const bool turned = chance(4) && !only_churn;
    if (only_churn || !chance(6)) write_disks(state, dice, turned);
    if (only_churn || !chance(6)) write_lines(state);
    if (only_churn || !chance(6)) write_systems(state, dice);
    if (only_churn || !chance(6)) write_packages(state, dice);
    return state;
  }

 private:
  static std::string text(std::mt19937& dice, unsigned of) {
    static const char* const words[] = {"a", "b", "<c>", "d&e", "é", "\"f\"", "7", "h h"};
    return words[dice() % std::min(of, 8u)];
  }
  static v1::InventoryClass& table(v1::HardwareInventory& state, const char* name, std::vector<std::string> properties,
                                   std::vector<std::uint32_t> key, std::vector<std::uint32_t> churns) {
    v1::InventoryClass& one = *state.add_classes();
    one.set_name(name);
    one.set_name_space("root\\cimv2");
    for (auto& property : properties) one.add_properties(std::move(property));
    for (const auto column : key) one.add_key_properties(column);
    for (const auto column : churns) one.add_churning_properties(column);
    return one;
  }
  void write_disks(v1::HardwareInventory& state, std::mt19937& dice, bool turned) {
    auto& one = turned ? table(state, "Disk", {"Free", "Size", "ID"}, {2}, {0}) : table(state, "Disk", {"ID", "Size", "Free"}, {0}, {2});
    for (const auto& [id, size] : disks_) {
      v1::InventoryInstance& row = *one.add_instances();
      for (int i = 0; i < 3; ++i) row.add_values();
      row.mutable_values(turned ? 2 : 0)->set_text(id);
      if (size != "7") row.mutable_values(1)->set_text(size);
      if (dice() % 4) row.mutable_values(turned ? 0 : 2)->set_unsigned_integer(dice() % 100);
    }
  }
  void write_lines(v1::HardwareInventory& state) {
    auto& one = table(state, "Line", {"Port", "Items", "Bus"}, {0, 2}, {});
    for (const auto& [key, item] : lines_) {
      v1::InventoryInstance& row = *one.add_instances();
      row.add_values()->set_text(key.first);
      auto& list = *row.add_values();
      if (item != "a") {
        list.mutable_list()->add_items(item);
        list.mutable_list()->add_items("second");
      }
      row.add_values()->set_text(key.second);
    }
  }
  void write_systems(v1::HardwareInventory& state, std::mt19937& dice) {
    auto& one = table(state, "System", {"Name", "Load"}, {}, {1});
    for (const auto& name : systems_) {
      v1::InventoryInstance& row = *one.add_instances();
      row.add_values()->set_text(name);
      row.add_values()->set_integer(static_cast<int>(dice() % 100));
    }
  }
  void write_packages(v1::HardwareInventory& state, std::mt19937& dice) {
    auto& one = table(state, "Package", {"ID", "Version", "Used"}, {0}, {});
    for (const auto& [id, version] : packages_) {
      v1::InventoryInstance& row = *one.add_instances();
      row.add_values()->set_text(id);
      row.add_values()->set_text(version);
      row.add_values()->set_boolean(dice() % 2 != 0);
    }
  }

  std::map<std::string, std::string> disks_, packages_;
  std::map<std::pair<std::string, std::string>, std::string> lines_;
  std::vector<std::string> systems_;
};

// One life, and what the site should have at every moment.
class Life {
 public:
  Life() : world_(keys, config()), began_(world_.clock.wall()) {}

  void live(const Move& move) {
    const auto step = static_cast<Step>(move.step);
    switch (step) {
      case Step::report: report(move.seed); break;
      case Step::report_and_wait: report(move.seed); return;
      case Step::report_again:
        if (last_) put(*last_);
        break;
      case Step::report_churned: put(machine_.look(move.seed, true)); break;
      case Step::resync: RC_ASSERT(request_resync(*world_.store, world_.agent, kind, "P", "1", world_.clock.wall()).has_value()); break;
      case Step::pass_a_month: world_.clock.advance(std::chrono::hours(24 * 31)); break;
      case Step::lose_baseline: lose_baseline(); break;
      case Step::replay_letters: RC_ASSERT(world_.store->replay({}).has_value()); break;
      case Step::answer_lost: world_.next_fate(Fate::taken_but_answer_lost), report(move.seed); break;
      case Step::message_lost: world_.next_fate(Fate::lost), report(move.seed); break;
      case Step::refused: world_.next_fate(Fate::refused), report(move.seed); break;
      case Step::refused_but_taken: world_.next_fate(Fate::refused_but_taken), report(move.seed); break;
      case Step::settling_fails: world_.store->fail_settling("queue.disk"), report(move.seed); break;
      case Step::lease_lost: world_.store->revoke_lease_at_settling(), report(move.seed); break;
      case Step::answer_lost_and_baseline_lost:
        world_.next_fate(Fate::taken_but_answer_lost), report(move.seed);
        world_.carry_once();
        learn_what_was_settled();
        lose_baseline();
        break;
      case Step::count: break;
    }
    arrive(step == Step::report || step == Step::report_again || step == Step::report_churned);
  }

 private:
  static InventoryConfig config() {
    InventoryConfig config;
    config.deltas_max = 5;
    config.churning = {"Package.Used"};
    return config;
  }
  void report(std::uint32_t seed) { put(machine_.look(seed, false)); }
  void put(const v1::HardwareInventory& state) {
    world_.report(kind, state);
    states_[world_.sequence] = state;
    last_ = state;
  }
  void lose_baseline() {
    world_.store->lose_baselines();
    baseline_lost_ = true;
  }

  // What the site should have once `state` arrived: what it does not speak of stays, as far as we still knew of it.
  SiteModel::Classes after(const v1::HardwareInventory& state) const {
    auto classes = world_.site.expected(state);
    if (!baseline_lost_) {
      std::set<std::string> spoken;
      for (const auto& one : state.classes()) spoken.insert(one.name());
      for (const auto& [name, rows] : acknowledged_) {
        if (!spoken.contains(name)) classes[name] = rows;
      }
    }
    std::erase_if(classes, [](const auto& one) { return one.second.empty(); });
    return classes;
  }
  void acknowledge(const v1::HardwareInventory& state) {
    acknowledged_ = after(state);
    baseline_lost_ = false;
    sure_ = true;
  }

  // One report waits, all before it was taken, and it says nothing the site does not have.
  bool is_news() const {
    const bool settled_before = sure_ && !baseline_lost_ && !world_.site.taken().empty() && world_.store->waiting() == 1 &&
                                world_.clock.wall() - full_at_ < std::chrono::days(28);
    return !settled_before || comparable(after(*last_)) != comparable(acknowledged_);
  }

  void arrive(bool reports) {
    const bool silent = reports && last_ && !is_news();
    const std::size_t before = world_.site.taken().size();
    RC_ASSERT(world_.run());
    if (silent) RC_ASSERT(world_.site.taken().size() == before);
    for (std::size_t i = before; i < world_.site.taken().size(); ++i) {
      if (world_.site.taken()[i].type == "Full") full_at_ = began_;
    }
    began_ = world_.clock.wall();
    learn_what_was_settled();
    RC_ASSERT(world_.site.complaints() == std::vector<std::string>());
    RC_ASSERT(world_.store->waiting() == 0u);
    if (!sure_) return;
    RC_ASSERT(comparable(world_.site.classes(door)) == comparable(acknowledged_));
    // And the baseline is what the site has, to the last churning value.
    const auto baseline = static_cast<store::Baselines&>(*world_.store).find(world_.agent, kind);
    RC_ASSERT(baseline.has_value());
    if (!*baseline) return;
    const auto form = read_baseline((*baseline)->body);
    RC_ASSERT(form.has_value());
    v1::HardwareInventory held;
    RC_ASSERT(held.ParseFromString(form->plain));
    RC_ASSERT(world_.site.comparable(world_.site.classes(door), {}) == world_.site.comparable(world_.site.expected(held), {}));
  }

  void learn_what_was_settled() {
    for (const auto& settled : world_.store->take_settled()) {
      if (settled.outcome == store::Outcome::buried) {
        sure_ = false;
      } else if (settled.outcome == store::Outcome::delivered) {
        if (settled.kind == v1::KIND_RESYNC) sure_ = true;
        else acknowledge(states_.at(settled.name.sequence));
      } else if (settled.code == "inventory.unchanged") {
        acknowledge(states_.at(settled.name.sequence));
      } else if (settled.code == "inventory.empty") {
        sure_ = false;  // a whole one was due and there is nothing in it: the site keeps what it has until there is
      } else {
        RC_ASSERT(settled.code == "" || settled.code == "inventory.older" || settled.code == "inventory.nothing_known");
      }
    }
  }

  SiteModel::Classes comparable(const SiteModel::Classes& classes) const { return world_.site.comparable(classes, churning); }

  SiteOfOne world_;
  Machine machine_;
  std::map<std::uint64_t, v1::HardwareInventory> states_;  // by sequence
  std::optional<v1::HardwareInventory> last_;
  SiteModel::Classes acknowledged_;
  bool sure_ = true;           // the site has exactly what was acknowledged
  bool baseline_lost_ = false;
  WallTime began_, full_at_;   // of this step; of the last Full, at the earliest
};

TEST(InventoryReplay, WhateverHappensTheSiteHasTheAgentsStateAndNothingIsSentForNothing) {
  // Of full size each: rapidcheck would else begin with the first few steps alone.
  const auto whole = [](auto gen) { return rc::gen::resize(rc::kNominalSize, std::move(gen)); };
  const auto moves = rc::gen::container<std::vector<Move>>(rc::gen::build<Move>(
      rc::gen::set(&Move::step, whole(rc::gen::inRange<std::uint8_t>(0, static_cast<std::uint8_t>(Step::count)))),
      rc::gen::set(&Move::seed, whole(rc::gen::arbitrary<std::uint32_t>()))));
  const bool held = rc::check("the site has the agent's state", [&] {
    Life life;
    for (const Move& move : *rc::gen::resize(60, moves)) life.live(move);
  });
  EXPECT_TRUE(held) << "run again with the RC_PARAMS printed above";
}

}  // namespace
}  // namespace greengate::test
