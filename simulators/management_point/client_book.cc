#include "simulators/management_point/client_book.h"

#include "core/log.h"
#include "simulators/common/text.h"

#include <boost/json.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <fstream>

namespace greengate::sim {
namespace {

namespace json = boost::json;
const Log log_("mp_sim");

std::string text_in(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string();
}
std::int64_t number_in(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  if (value == nullptr) return 0;
  if (value->is_int64()) return value->as_int64();
  return value->is_uint64() ? static_cast<std::int64_t>(value->as_uint64()) : 0;
}
bool flag_in(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  return value != nullptr && value->is_bool() && value->as_bool();
}

json::object record_of(const Client& client) {
  json::object versions, resync;
  for (const auto& [kind, version] : client.versions) versions[name_of(kind)] = to_text(version);
  for (const auto& [kind, wanted] : client.resync_wanted) resync[name_of(kind)] = wanted;
  json::object record{{"smsid", client.sms_id},
                      {"certificate", to_hex_upper(client.certificate_der)},
                      {"netbios", client.netbios_name},
                      {"fqdn", client.fqdn},
                      {"proxy_smsid", client.proxy_sms_id},
                      {"agent_type", client.agent_type},
                      {"registered_at_ms", client.registered_at_ms},
                      {"confirmed_at_ms", client.confirmed_at_ms},
                      {"approved", client.approved},
                      {"blocked", client.blocked},
                      {"rejected", client.rejected},
                      {"proxy", client.proxy},
                      {"versions", std::move(versions)},
                      {"resync", std::move(resync)}};
  if (client.last_serial) record["last_serial"] = *client.last_serial;
  return record;
}

std::optional<ReportKind> kind_named(std::string_view name) {
  for (const ReportKind kind :
       {ReportKind::discovery, ReportKind::hardware, ReportKind::software, ReportKind::files,
        ReportKind::state, ReportKind::metering, ReportKind::mif, ReportKind::status})
    if (name == name_of(kind)) return kind;
  return std::nullopt;
}

}  // namespace

std::uint64_t fingerprint_of(std::string_view text) {
  std::uint64_t hash = 0;
  const std::string digest = sha256(text);
  for (int i = 0; i < 8; ++i)
    hash = hash << 8 | static_cast<unsigned char>(digest[static_cast<std::size_t>(i)]);
  return hash & 0x7FFFFFFFFFFFFFFF;  // fits a JSON integer
}

std::optional<std::uint64_t> RecentIds::seen(std::string_view id) const {
  if (id.empty()) return std::nullopt;
  const std::uint64_t hash = fingerprint_of(id);
  for (const auto& [known, fingerprint] : ids_)
    if (known == hash) return fingerprint;
  return std::nullopt;
}

void RecentIds::remember(std::string_view id, std::uint64_t fingerprint) {
  if (id.empty()) return;
  ids_.emplace_back(fingerprint_of(id), fingerprint);
  if (ids_.size() > remembered_max) ids_.pop_front();
}

ClientBook::ClientBook(std::filesystem::path dir, bool durable, std::size_t clients_max)
    : dir_(std::move(dir)), durable_(durable), clients_max_(clients_max) {}

ClientBook::~ClientBook() {
  if (file_ >= 0) ::close(file_);
}

Result<void> ClientBook::open() {
  const auto path = dir_ / "clients.jsonl", fresh = dir_ / "clients.jsonl.new";
  if (std::ifstream in(path, std::ios::binary); in) {
    std::string line;
    while (std::getline(in, line)) load_line(line);
  }
  std::ofstream out(fresh, std::ios::binary | std::ios::trunc);
  for (const auto& [id, client] : clients_)
    out << json::serialize(json::object{{"client", record_of(client)}}) << '\n';
  out.close();
  std::error_code error;
  if (out) std::filesystem::rename(fresh, path, error);
  if (!out || error)
    return fail(Remedy::reject, "clients.file",
                "The clients' file " + path.string() + " cannot be written.");
  file_ = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (file_ < 0)
    return fail(Remedy::reject, "clients.file",
                "The clients' file " + path.string() + " cannot be opened.");
  return {};
}

void ClientBook::load_line(std::string_view line) {
  json::error_code error;
  const json::value value = json::parse(line, error);
  if (error || !value.is_object()) {
    log_.warn("client line set aside", kv("code", "clients.file"), kv("bytes", line.size()));
    return;
  }
  if (const auto* progress = value.as_object().if_contains("progress");
      progress != nullptr && progress->is_object()) {
    const json::object& object = progress->as_object();
    Client* client = find(text_in(object, "smsid"));
    const auto kind = kind_named(text_in(object, "kind"));
    if (client == nullptr || !kind) return;
    if (const auto version = parse_version(text_in(object, "version")))
      client->versions[*kind] = *version;
    if (object.contains("serial"))
      client->last_serial = static_cast<std::uint64_t>(number_in(object, "serial"));
    if (flag_in(object, "resync_done")) client->resync_wanted[*kind] = 0;
    client->recent.remember(text_in(object, "id"),
                            static_cast<std::uint64_t>(number_in(object, "print")));
    return;
  }
  if (value.as_object().contains("forget")) {
    clients_.erase(text_in(value.as_object(), "forget"));
    return;
  }
  const auto* record = value.as_object().if_contains("client");
  if (record == nullptr || !record->is_object()) return;
  const json::object& object = record->as_object();
  Client client;
  client.sms_id = text_in(object, "smsid");
  client.certificate_der = from_hex(text_in(object, "certificate")).value_or("");
  auto facts = read_certificate(client.certificate_der);
  if (!is_sms_id(client.sms_id) || !facts) {
    log_.warn("client line set aside", kv("code", "clients.file"), kv("sms_id", client.sms_id));
    return;
  }
  client.key = facts->key;
  client.netbios_name = text_in(object, "netbios");
  client.fqdn = text_in(object, "fqdn");
  client.proxy_sms_id = text_in(object, "proxy_smsid");
  client.agent_type = static_cast<std::uint64_t>(number_in(object, "agent_type"));
  client.registered_at_ms = number_in(object, "registered_at_ms");
  client.confirmed_at_ms = number_in(object, "confirmed_at_ms");
  client.approved = flag_in(object, "approved");
  client.blocked = flag_in(object, "blocked");
  client.rejected = flag_in(object, "rejected");
  client.proxy = flag_in(object, "proxy");
  if (const auto* versions = object.if_contains("versions");
      versions != nullptr && versions->is_object())
    for (const auto& [name, text] : versions->as_object())
      if (const auto kind = kind_named(name); kind && text.is_string())
        if (const auto version = parse_version(text.as_string())) client.versions[*kind] = *version;
  if (const auto* resync = object.if_contains("resync"); resync != nullptr && resync->is_object())
    for (const auto& [name, wanted] : resync->as_object())
      if (const auto kind = kind_named(name))
        client.resync_wanted[*kind] =
            wanted.is_int64() ? static_cast<std::uint64_t>(wanted.as_int64()) : 0;
  if (object.contains("last_serial"))
    client.last_serial = static_cast<std::uint64_t>(number_in(object, "last_serial"));
  by_certificate_[same_key(client.certificate_der, client.netbios_name, client.fqdn)] =
      client.sms_id;
  std::string id = client.sms_id;
  clients_.insert_or_assign(std::move(id), std::move(client));
}

Client* ClientBook::find(const std::string& sms_id) {
  const auto it = clients_.find(sms_id);
  return it == clients_.end() ? nullptr : &it->second;
}
const Client* ClientBook::find(const std::string& sms_id) const {
  const auto it = clients_.find(sms_id);
  return it == clients_.end() ? nullptr : &it->second;
}

Client* ClientBook::find_same(std::string_view certificate_der, const std::string& netbios_name,
                              const std::string& fqdn) {
  const auto it = by_certificate_.find(same_key(certificate_der, netbios_name, fqdn));
  return it == by_certificate_.end() ? nullptr : find(it->second);
}

Client& ClientBook::add(Client client) {
  by_certificate_[same_key(client.certificate_der, client.netbios_name, client.fqdn)] =
      client.sms_id;
  std::string id = client.sms_id;
  Client& kept = clients_.insert_or_assign(std::move(id), std::move(client)).first->second;
  save(kept);
  return kept;
}

void ClientBook::change_key(Client& client, const std::string& certificate_der, const Key& key) {
  by_certificate_.erase(same_key(client.certificate_der, client.netbios_name, client.fqdn));
  client.certificate_der = certificate_der;
  client.key = key;
  by_certificate_[same_key(client.certificate_der, client.netbios_name, client.fqdn)] =
      client.sms_id;
  save(client);
}

bool ClientBook::forget(const std::string& sms_id) {
  const auto it = clients_.find(sms_id);
  if (it == clients_.end()) return false;
  by_certificate_.erase(
      same_key(it->second.certificate_der, it->second.netbios_name, it->second.fqdn));
  clients_.erase(it);
  write(json::serialize(json::object{{"forget", sms_id}}));
  return true;
}

void ClientBook::save(const Client& client) {
  write(json::serialize(json::object{{"client", record_of(client)}}));
}

void ClientBook::save_progress(const Client& client, ReportKind kind, std::string_view message_id,
                               std::uint64_t fingerprint) {
  if (!durable_) return;
  json::object progress{{"smsid", client.sms_id},
                        {"kind", name_of(kind)},
                        {"id", message_id},
                        {"print", fingerprint}};
  if (const auto it = client.versions.find(kind); it != client.versions.end())
    progress["version"] = to_text(it->second);
  if (kind == ReportKind::state && client.last_serial) progress["serial"] = *client.last_serial;
  if (const auto it = client.resync_wanted.find(kind);
      it != client.resync_wanted.end() && it->second == 0)
    progress["resync_done"] = true;
  write(json::serialize(json::object{{"progress", std::move(progress)}}));
}

void ClientBook::write(const std::string& line) {
  const std::string whole = line + '\n';
  if (::write(file_, whole.data(), whole.size()) != static_cast<ssize_t>(whole.size()))
    log_.error("client not kept", kv("code", "clients.file"), kv("dir", dir_.string()));
}

std::string ClientBook::same_key(std::string_view certificate_der, const std::string& netbios_name,
                                 const std::string& fqdn) {
  return sha256(certificate_der) + to_lower(netbios_name) + '\n' + to_lower(fqdn);
}

}  // namespace greengate::sim
