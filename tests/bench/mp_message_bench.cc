// What a message costs beside its bare parts: the RSA signature nobody can avoid, and compression.
// Promise held here: translate + compress + sign of a 4 KB report costs little more than the
// signature alone.
#include "adapters/http/client.h"
#include "adapters/http/server.h"
#include "adapters/mp/compression.h"
#include "adapters/mp/hardware_inventory.h"
#include "adapters/mp/management_point.h"
#include "adapters/mp/state_messages.h"
#include "greengate/v1/report.pb.h"

#include <benchmark/benchmark.h>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <thread>

namespace greengate {
namespace {

using namespace greengate::adapters;

const MpSettings& settings() {
  static const MpSettings s = [] {
    MpSettings made;
    made.site_code = "P01";
    made.target_host = "127.0.0.1";
    return made;
  }();
  return s;
}

const MpIdentity& identity() {
  static const MpIdentity i = [] {
    MpIdentity made;
    made.sms_id = new_sms_id();
    made.key = *SigningKey::generate();
    made.netbios_name = "LNX-A001";
    made.fqdn = "lnx-a001.example.test";
    if (!prepare_identity(settings(), made)) std::abort();
    return made;
  }();
  return i;
}

ReportFacts facts() {
  ReportFacts f;
  f.made_at = from_millis(1'768'472'430'000);
  f.inventory_policy_date = from_millis(1'768'000'000'000);
  f.message_id = "{11111111-2222-4333-8444-555555555555}";
  return f;
}

/// About 4 KB of report as XML text.
std::vector<v1::StateMessage> states() {
  std::vector<v1::StateMessage> made(12);
  for (std::size_t i = 0; i < made.size(); ++i) {
    made[i].set_time_ms(1'768'472'430'000 + static_cast<std::int64_t>(i) * 977);
    made[i].set_topic_type(500);
    made[i].set_topic_id("505fda07-b4f3-45fb-83d9-8642554e27" + std::to_string(10 + i));
    made[i].set_topic_id_type(3);
    made[i].set_state_id(static_cast<std::uint32_t>(i % 4));
    made[i].add_parameters(std::to_string(200 + i * 13));
  }
  return made;
}

v1::HardwareInventory packages(int count) {
  v1::HardwareInventory inventory;
  auto* programs = inventory.add_classes();
  programs->set_name("Win32Reg_AddRemovePrograms");
  for (const char* property : {"DisplayName", "InstallDate", "ProdID", "Publisher", "Version"})
    programs->add_properties(property);
  programs->add_key_properties(2);
  std::uint64_t x =
      88172645463325252ULL;  // xorshift: names that compress like names, not like zeros
  for (int i = 0; i < count; ++i) {
    auto* row = programs->add_instances();
    std::string name = "lib";
    for (int k = 0; k < 3; ++k) {
      x ^= x << 13, x ^= x >> 7, x ^= x << 17;
      static constexpr const char* syllables[] = {
          "ssl",  "xml",   "gtk",   "font", "perl",  "python3", "dev",  "data",
          "core", "utils", "boost", "icu",  "proto", "zmq",     "http", "crypt"};
      name += std::string("-") + syllables[x % 16];
    }
    name += std::to_string(x % 97);
    row->add_values()->set_text(name);
    row->add_values()->set_date("202512" + std::to_string(10 + x % 18));
    row->add_values()->set_text(name);
    row->add_values()->set_text("Debian");
    row->add_values()->set_text(std::to_string(x % 9) + "." + std::to_string(x % 31) + "-" +
                                std::to_string(x % 7) + "+deb12u" + std::to_string(x % 5));
  }
  return inventory;
}

void bare_rsa_2048_signature(benchmark::State& state) {
  const std::string bytes(1200, 'x');
  for (auto _ : state) benchmark::DoNotOptimize(identity().key.sign(bytes, SignatureHash::sha256));
}
BENCHMARK(bare_rsa_2048_signature);

void state_message_4k(benchmark::State& state) {
  const auto all = states();
  std::vector<const v1::StateMessage*> given;
  for (const auto& each : all) given.push_back(&each);
  std::size_t xml = 0, sent = 0;
  for (auto _ : state) {
    const auto message = state_message(settings(), identity(), facts(), given, 1);
    xml = message->xml_bytes / 2, sent = message->http_body.size();
  }
  state.counters["xml_chars"] = static_cast<double>(xml);
  state.counters["http_bytes"] = static_cast<double>(sent);
}
BENCHMARK(state_message_4k);

void state_message_4k_bare_compression(benchmark::State& state) {
  const auto all = states();
  std::string plain;
  for (const auto& each : all) {
    const std::string text = each.DebugString();
    for (const char c : text + text) plain.append({c, '\0'});
  }
  plain.resize(8192);
  for (auto _ : state) benchmark::DoNotOptimize(compress_zlib(plain, settings().compression_level));
}
BENCHMARK(state_message_4k_bare_compression);

void inventory_of_600_packages(benchmark::State& state) {
  const auto inventory = packages(600);
  std::size_t xml = 0, sent = 0;
  for (auto _ : state) {
    const auto message = hardware_inventory_message(settings(), identity(), facts(), inventory);
    xml = message->xml_bytes / 2, sent = message->http_body.size();
  }
  state.counters["xml_chars"] = static_cast<double>(xml);
  state.counters["http_bytes"] = static_cast<double>(sent);
}
BENCHMARK(inventory_of_600_packages);

/// The stream of that inventory, for its bare parts.
std::string stream_of_600() {
  MpSettings plain = settings();
  plain.compress = false;
  const auto message = hardware_inventory_message(plain, identity(), facts(), packages(600));
  return message->http_body.substr(message->http_body.size() - message->xml_bytes - 34,
                                   message->xml_bytes);
}

void inventory_bare_compression(benchmark::State& state) {
  const std::string stream = stream_of_600();
  std::size_t size = 0;
  for (auto _ : state) size = compress_zlib(stream, static_cast<int>(state.range(0))).size();
  state.counters["bytes"] = static_cast<double>(size);
}
BENCHMARK(inventory_bare_compression)->Arg(1)->Arg(2)->Arg(6);

void inventory_bare_translation(benchmark::State& state) {
  MpSettings plain = settings();
  const auto inventory = packages(600);
  const MpIdentity& who = identity();
  const ReportFacts when = facts();
  for (auto _ : state) {
    HardwareInventoryWriter writer(plain, who, when, InventoryKind::full);
    if (!writer.begin_class(inventory.classes(0))) std::abort();
    for (const auto& each : inventory.classes(0).instances())
      if (!writer.instance(each, InstanceContent::added)) std::abort();
    benchmark::ClobberMemory();
  }
}
BENCHMARK(inventory_bare_translation);

/// One Post over a kept connection; the server's share is on another thread and counts in wall time
/// only.
void post_4k_over_a_kept_connection(benchmark::State& state) {
  asio::io_context net(1);
  const auto work = asio::make_work_guard(net);
  HttpServerConfig config;
  config.port = 0;
  HttpServer server(
      net, config, plain_handler([](const HttpCall&) { return HttpReply(200, "text/plain", ""); }));
  if (!server.start()) std::abort();
  std::thread thread([&] { net.run(); });
  Metrics metrics;
  asio::io_context unused;
  const auto client = std::move(*HttpClient::create(unused, HttpClientConfig(), metrics));
  const SystemClock clock;
  ManagementPoint point(*client, clock, settings(),
                        *parse_url("http://127.0.0.1:" + std::to_string(server.port())));
  const auto all = states();
  std::vector<const v1::StateMessage*> given;
  for (const auto& each : all) given.push_back(&each);
  const auto message = state_message(settings(), identity(), facts(), given, 1);
  for (auto _ : state) {
    const auto verdict = point.send(*message);
    if (!verdict) state.SkipWithError(verdict.error().message.c_str());
  }
  server.stop();
  net.stop();
  thread.join();
}
BENCHMARK(post_4k_over_a_kept_connection);

void load_a_key(benchmark::State& state) {
  const std::string der = *identity().key.pkcs8_der();
  for (auto _ : state) benchmark::DoNotOptimize(SigningKey::from_pkcs8_der(der));
}
BENCHMARK(load_a_key);

}  // namespace
}  // namespace greengate
