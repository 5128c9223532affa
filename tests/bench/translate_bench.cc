// From protobuf to a signed message, beside what nobody can avoid (the RSA signature, compression at level 1, writing the XML), all in one run.
//
//   translate_bench [--rounds 9] [--slice-ms 300]
//
// Held here: 4 KB reports, coalescing off: at least 0.88 of the bare signature's rate · two threads at least 1.85 × one · with 20 state messages
// waiting at least 10 × as many state messages a second · an inventory of 600 packages at least 0.8 of its bare parts · memory of one inventory
// in flight at most 4 × its XML. Each round takes a slice of everything in turn; medians over rounds, and ratios within a round.
#include "adapters/mp/hardware_inventory.h"
#include "store/baselines.h"
#include "workers/inventory_planner.h"
#include "workers/translator.h"

#include "greengate/v1/frame.pb.h"
#include "greengate/v1/report.pb.h"

#include <libdeflate.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <string>
#include <thread>
#include <vector>

namespace {

// What operator new has out now and had at most; libdeflate's and OpenSSL's own memory is not in it.
std::atomic<std::int64_t> live{0}, peak{0};

void count(void* block) {
  const auto now = live.fetch_add(static_cast<std::int64_t>(malloc_usable_size(block))) + static_cast<std::int64_t>(malloc_usable_size(block));
  auto most = peak.load();
  while (now > most && !peak.compare_exchange_weak(most, now)) {
  }
}

}  // namespace

void* operator new(std::size_t size) {
  void* block = std::malloc(size != 0 ? size : 1);
  if (!block) throw std::bad_alloc();
  count(block);
  return block;
}
void operator delete(void* block) noexcept {
  if (block) live.fetch_sub(static_cast<std::int64_t>(malloc_usable_size(block)));
  std::free(block);
}
void operator delete(void* block, std::size_t) noexcept { operator delete(block); }

namespace greengate {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void give_up(const char* what, const Error& error) {
  std::fprintf(stderr, "%s: %s (%s)\n", what, error.message.c_str(), error.code);
  std::exit(1);
}

struct NothingKnown final : store::Baselines {
  Result<std::optional<store::Baseline>> find(const AgentId&, std::uint32_t) override { return std::optional<store::Baseline>(); }
  Result<std::vector<store::Baseline>> list(const AgentId&) override { return std::vector<store::Baseline>(); }
};

adapters::MpSettings made_settings() {
  adapters::MpSettings settings;
  settings.site_code = "P01";
  settings.target_host = "mp01.example.test";
  return settings;
}

adapters::MpIdentity made_identity(const adapters::MpSettings& settings) {
  adapters::MpIdentity identity;
  auto key = adapters::SigningKey::generate();
  if (!key) give_up("key", key.error());
  identity.key = *key;
  identity.sms_id = adapters::new_sms_id();
  identity.netbios_name = "LNX-A001";
  identity.fqdn = "lnx-a001.example.test";
  if (auto prepared = adapters::prepare_identity(settings, identity); !prepared) give_up("identity", prepared.error());
  return identity;
}

v1::StateMessage state(int number) {
  v1::StateMessage made;
  made.set_time_ms(1'768'472'430'000 + number * 977);
  made.set_topic_type(500);
  made.set_topic_id("505fda07-b4f3-45fb-83d9-8642554e27" + std::to_string(10 + number % 90));
  made.set_topic_id_type(3);
  made.set_state_id(static_cast<std::uint32_t>(number % 4));
  made.add_parameters(std::to_string(200 + number * 13));
  return made;
}

store::LeasedReport report_of(std::uint32_t kind, std::string body, std::uint64_t sequence = 1) {
  store::LeasedReport report;
  report.id = ItemId(sequence);
  report.name = {AgentId("a1"), 7, sequence};
  report.kind = kind;
  report.body = std::move(body);
  return report;
}

store::LeasedReport states(int messages, std::uint64_t sequence = 1) {
  v1::StateMessages all;
  for (int i = 0; i < messages; ++i) *all.add_messages() = state(static_cast<int>(sequence) * 100 + i);
  return report_of(v1::KIND_STATE_MESSAGES, all.SerializeAsString(), sequence);
}

/// A server's inventory: 600 packages, and the services and processes beside them.
v1::HardwareInventory server() {
  v1::HardwareInventory inventory;
  inventory.set_collected_at_ms(1'768'472'430'000);
  std::uint64_t x = 88172645463325252ULL;  // xorshift: names that compress like names, not like zeros
  const auto next = [&x] {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return x;
  };
  const auto word = [&] {
    static constexpr const char* syllables[] = {"ssl", "xml", "gtk", "font", "perl", "python3", "dev", "data", "core", "utils", "boost", "icu", "proto", "zmq", "http", "crypt"};
    std::string made = "lib";
    for (int k = 0; k < 3; ++k) made += std::string("-") + syllables[next() % 16];
    return made + std::to_string(next() % 97);
  };
  auto* programs = inventory.add_classes();
  programs->set_name("Win32Reg_AddRemovePrograms");
  for (const char* property : {"ProdID", "DisplayName", "InstallDate", "Publisher", "Version"}) programs->add_properties(property);
  programs->add_key_properties(0);
  for (int i = 0; i < 600; ++i) {
    auto* row = programs->add_instances();
    const std::string name = word() + "-" + std::to_string(i);
    row->add_values()->set_text(name);
    row->add_values()->set_text(name);
    row->add_values()->set_date("202512" + std::to_string(10 + next() % 18));
    row->add_values()->set_text("Debian Maintainers <maintainers@example.test>");
    row->add_values()->set_text(std::to_string(next() % 9) + "." + std::to_string(next() % 31) + "-" + std::to_string(next() % 7) + "+deb12u" + std::to_string(next() % 5));
  }
  auto* services = inventory.add_classes();
  services->set_name("Win32_Service");
  for (const char* property : {"Name", "DisplayName", "PathName", "StartMode", "State", "Status"}) services->add_properties(property);
  services->add_key_properties(0);
  for (int i = 0; i < 150; ++i) {
    auto* row = services->add_instances();
    const std::string name = word() + "-" + std::to_string(i) + ".service";
    row->add_values()->set_text(name);
    row->add_values()->set_text("The " + name);
    row->add_values()->set_text("/usr/lib/systemd/system/" + name);
    row->add_values()->set_text(i % 3 == 0 ? "Auto" : "Manual");
    row->add_values()->set_text(i % 4 == 0 ? "Running" : "Stopped");
    row->add_values()->set_text("OK");
  }
  return inventory;
}

/// How often `work` goes into one slice of time, a second.
double rate(std::chrono::milliseconds slice, const std::function<void()>& work) {
  const auto begin = Clock::now();
  std::uint64_t done = 0;
  do {
    for (int i = 0; i < 4; ++i) work();
    done += 4;
  } while (Clock::now() - begin < slice);
  return static_cast<double>(done) / std::chrono::duration<double>(Clock::now() - begin).count();
}

/// The reference: libdeflate at level 1, though level 1 of the product is another library's.
std::string by_libdeflate(std::string_view plain) {
  static libdeflate_compressor* const with = libdeflate_alloc_compressor(1);
  static std::vector<char> room(libdeflate_zlib_compress_bound(with, 1u << 20));
  return std::string(room.data(), libdeflate_zlib_compress(with, plain.data(), plain.size(), room.data(), room.size()));
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Bench {
  const adapters::MpSettings settings = made_settings();
  const adapters::MpIdentity identity = made_identity(settings);
  const workers::Translator translator{settings};
  NothingKnown nothing;
  Metrics metrics;
  const workers::InventoryPlanner planner{{}, settings, nothing, metrics};

  adapters::OutgoingMessage message(const std::vector<const store::LeasedReport*>& reports) const {
    workers::Group group{reports.front()->kind, reports, {}};
    auto numbering = translator.number(group, from_millis(1'768'472'430'000), [](const std::string&) { return 0u; });
    if (!numbering) give_up("number", numbering.error());
    auto made = translator.translate(identity, group, numbering->note);
    if (!made) give_up("translate", made.error());
    return std::move(*made);
  }
  adapters::OutgoingMessage inventory(const store::LeasedReport& report) const {
    workers::Group group{report.kind, {&report}, {}};
    auto plan = planner.plan(report.name.agent, identity.sms_id, group, std::nullopt, [](const std::string&) { return 0u; }, from_millis(1'768'472'430'000));
    if (!plan) give_up("plan", plan.error());
    auto prepared = std::move(*plan).write(settings, identity);
    if (!prepared) give_up("write", prepared.error());
    return std::move(prepared->message);
  }
};

}  // namespace

int bench(int rounds, std::chrono::milliseconds slice) {
  const Bench b;
  const std::string signed_bytes(1'200, 'x');
  const auto sign = [&] { (void)b.identity.key.sign(signed_bytes, adapters::SignatureHash::sha256); };

  const store::LeasedReport four_kb = states(12);
  const auto one_report = [&] { (void)b.message({&four_kb}); };
  std::vector<store::LeasedReport> waiting;
  for (std::uint64_t i = 1; i <= 20; ++i) waiting.push_back(states(1, i));
  std::vector<const store::LeasedReport*> together;
  for (const auto& each : waiting) together.push_back(&each);

  const v1::HardwareInventory whole = server();
  const store::LeasedReport inventory = report_of(v1::KIND_HARDWARE_INVENTORY, whole.SerializeAsString());
  adapters::MpSettings plain = b.settings;
  plain.compress = false;
  adapters::ReportFacts facts;
  facts.made_at = from_millis(1'768'472'430'000);
  facts.inventory_policy_date = facts.made_at;
  facts.message_id = "{11111111-2222-4333-8444-555555555555}";
  const auto written = adapters::hardware_inventory_message(plain, b.identity, facts, whole);
  if (!written) give_up("inventory", written.error());
  const std::string stream = written->http_body.substr(written->http_body.size() - written->xml_bytes - 34, written->xml_bytes);
  // The bare parts: the same rows through the writer, the same bytes through libdeflate, one signature.
  const auto bare_inventory = [&] {
    adapters::HardwareInventoryWriter writer(b.settings, b.identity, facts, adapters::InventoryKind::full);
    for (const v1::InventoryClass& one : whole.classes()) {
      if (!writer.begin_class(one)) std::abort();
      for (const v1::InventoryInstance& row : one.instances()) {
        if (!writer.instance(row, adapters::InstanceContent::added)) std::abort();
      }
    }
    const std::string compressed = by_libdeflate(stream);
    (void)b.identity.key.sign(compressed, adapters::SignatureHash::sha256);
  };

  std::vector<double> bare_rates, report_rates, report_ratio, thread_ratio, coalesced_rates, coalesced_ratio, inventory_rates, bare_inventory_rates, inventory_ratio;
  for (int round = 0; round < rounds; ++round) {
    const double bare = rate(slice, sign), report = rate(slice, one_report);
    bare_rates.push_back(bare);
    report_rates.push_back(report);
    report_ratio.push_back(report / bare);

    double rates[2] = {0, 0};
    std::thread other([&] { rates[1] = rate(slice, one_report); });
    rates[0] = rate(slice, one_report);
    other.join();
    thread_ratio.push_back((rates[0] + rates[1]) / report);

    const double each = rate(slice, [&] { (void)b.message({&waiting[0]}); });
    const double all = 20 * rate(slice, [&] { (void)b.message(together); });
    coalesced_rates.push_back(all);
    coalesced_ratio.push_back(all / each);

    const double parts = rate(slice, bare_inventory), made = rate(slice, [&] { (void)b.inventory(inventory); });
    bare_inventory_rates.push_back(parts);
    inventory_rates.push_back(made);
    inventory_ratio.push_back(made / parts);
  }

  // One inventory in flight: the report as leased, and everything until the message is there.
  double memory = 0;
  {
    const std::int64_t before = live.load();
    peak = before;
    const store::LeasedReport in_flight = report_of(v1::KIND_HARDWARE_INVENTORY, std::string(inventory.body));
    const auto message = b.inventory(in_flight);
    memory = static_cast<double>(peak.load() - before) / static_cast<double>(message.xml_bytes);
  }

  std::printf("%-58s %12s %12s %8s %6s\n", "", "a second", "limit", "ratio", "aim");
  std::printf("%-58s %12.0f %12.0f %8.2f %6.2f\n", "state report of 4,000 characters, coalescing off", median(report_rates), median(bare_rates), median(report_ratio), 0.88);
  std::printf("%-58s %12s %12s %8.2f %6.2f\n", "the same in two threads, beside one", "", "", median(thread_ratio), 1.85);
  std::printf("%-58s %12.0f %12s %8.1f %6.1f\n", "state messages, 20 waiting, beside one a message", median(coalesced_rates), "", median(coalesced_ratio), 10.0);
  std::printf("%-58s %12.0f %12.0f %8.2f %6.2f\n",
              ("inventory of 600 packages, " + std::to_string(written->xml_bytes / 1'024) + " KiB of UTF-16").c_str(), median(inventory_rates),
              median(bare_inventory_rates), median(inventory_ratio), 0.80);
  std::printf("%-58s %12s %12s %8.2f %6.2f\n", "memory of one such inventory in flight, beside its XML", "", "", memory, 4.0);
  return 0;
}

}  // namespace greengate

int main(int argc, char** argv) {
  int rounds = 9, slice_ms = 300;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--rounds") == 0) rounds = std::atoi(argv[i + 1]);
    if (std::strcmp(argv[i], "--slice-ms") == 0) slice_ms = std::atoi(argv[i + 1]);
  }
  return greengate::bench(std::max(rounds, 1), std::chrono::milliseconds(std::max(slice_ms, 20)));
}
