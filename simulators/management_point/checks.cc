#include "simulators/management_point/checks.h"

#include "core/check.h"

#include <unordered_map>

namespace greengate::sim {
namespace {

constexpr auto warn = CheckLevel::warn;
constexpr auto fails = CheckLevel::fail;

// The levels follow the grades of the specification: documented and many-witness rules fail, what
// real management points are known to tolerate (readings 26 and the tables of section 2) warns.
constexpr Check table[] = {
    // 6.5 step 1: transport and MIME
    {"transport.malformed_http", "1.1", fails},
    {"transport.header_too_long", "R 11", fails},
    {"transport.path", "R 11", fails},
    {"transport.method", "R 11", fails},
    {"transport.chunked", "R 11", fails},
    {"transport.length_missing", "R 11", fails},
    {"transport.too_long", "R 11", fails},
    {"transport.cut_off", "1.1", fails},
    {"transport.client_certificate", "1.7", fails},
    {"transport.http_forbidden", "1.7", fails},
    {"transport.expect_continue", "1.1", warn},
    {"transport.content_type", "1.2", fails},
    {"transport.boundary_unquoted", "1.2", warn},
    {"mime.opening", "1.3", fails},
    {"mime.closing", "1.3", fails},
    {"mime.parts", "1.3", fails},
    {"mime.part_header", "1.3", fails},
    {"mime.part1_type", "1.3", fails},
    {"mime.part2_type", "1.3", fails},
    {"mime.part2_type_missing", "1.3", warn},
    // step 2: the envelope
    {"envelope.bom_missing", "1.3", fails},
    {"envelope.utf16", "1.3", fails},
    {"envelope.nul", "1.3", fails},
    {"envelope.dtd", "R 12", fails},
    {"envelope.xml", "2", fails},
    {"envelope.xml_declaration", "2", fails},
    {"envelope.namespace", "2", fails},
    {"envelope.root", "2", fails},
    {"envelope.duplicate", "2", fails},
    {"envelope.schema_version", "2", warn},
    {"envelope.reply_compression", "2", fails},
    {"envelope.id_missing", "2", warn},
    {"envelope.id_form", "2", warn},
    {"envelope.source_id_missing", "2", fails},
    {"envelope.source_id_form", "3.6", fails},
    {"envelope.source_id_unexpected", "4.1", warn},
    {"envelope.target_endpoint_missing", "2", fails},
    {"envelope.target_endpoint_unknown", "2", fails},
    {"envelope.target_address", "2", fails},
    {"envelope.target_host", "R 26", warn},
    {"envelope.reply_to_missing", "2", fails},
    {"envelope.reply_to_form", "2", warn},
    {"envelope.reply_mode_missing", "2", fails},
    {"envelope.reply_mode", "R 19", fails},
    {"envelope.reply_mode_spelling", "R 19", warn},
    {"envelope.protocol", "2", warn},
    {"envelope.number_form", "2", warn},
    {"envelope.sent_time", "R 26", warn},
    {"envelope.payload_type", "2", fails},
    {"envelope.body_missing", "2", fails},
    {"envelope.body_type", "2", fails},
    {"envelope.body_numbers", "2", fails},
    {"envelope.attachment", "2.2", fails},
    {"envelope.file_type_missing", "R 20", fails},
    {"envelope.file_type_unknown", "5.9", fails},
    {"envelope.file_type_unexpected", "5.9", warn},
    {"hooks.unknown", "2.1", fails},
    // step 3: compression, and what the stream holds
    {"zlib.missing_hook", "1.4", fails},
    {"zlib.not_zlib", "1.4", fails},
    {"zlib.truncated", "1.4", fails},
    {"zlib.too_large", "6.5", fails},
    {"zlib.trailing_bytes", "R 25", fails},
    {"body.range", "1.4", fails},
    {"body.odd_length", "1.4", fails},
    {"body.nul_missing", "1.4", fails},
    {"body.nul_inside", "1.4", fails},
    {"body.bom", "1.4", fails},
    {"body.utf16", "1.4", fails},
    {"body.trailing_bytes", "1.4", warn},
    {"attachment.range", "2.2", fails},
    // step 4 and 5: who signed
    {"auth.hook_missing", "3.1", fails},
    {"auth.hook_unexpected", "4.1", warn},
    {"auth.client_unknown", "6.2", fails},
    {"auth.client_blocked", "3.4", fails},
    {"auth.client_pending", "R 9", fails},
    {"auth.never_confirmed", "R 9", warn},
    {"auth.hash_algorithm_missing", "3.2", fails},
    {"auth.hash_algorithm", "3.2", fails},
    {"auth.sha1", "3.2", fails},
    {"auth.payload_signature_missing", "3.2", fails},
    {"auth.payload_signature_form", "3.3", fails},
    {"auth.payload_signature", "3.3", fails},
    {"auth.payload_signature_byte_order", "3.3", fails},
    {"auth.payload_signature_no_oid", "3.3", fails},
    {"auth.uncompressed", "3.3", warn},
    {"auth.client_id_signature", "R 26", warn},
    {"auth.public_key", "R 26", warn},
    {"auth.sender_machine", "R 26", warn},
    {"auth.client_capabilities", "3.2", warn},
    // the body's text, whatever it says
    {"body.declaration_missing", "R 18", fails},
    {"body.declaration_forbidden", "R 18", fails},
    {"body.declaration_encoding", "1.4", fails},
    {"body.dtd", "R 12", fails},
    {"body.xml", "1.4", fails},
    {"message.repeat", "R 3", warn},
    {"message.id_reused", "2", fails},
    // step 6: registration
    {"registration.root", "4.2", fails},
    {"registration.data_text", "4.2", fails},
    {"registration.request_type", "4.2", fails},
    {"registration.smsid_form", "4.2", fails},
    {"registration.timestamp", "4.2", warn},
    {"registration.hash_algorithm", "4.2", fails},
    {"registration.agent_information", "4.2", fails},
    {"registration.agent_type", "4.2", fails},
    {"registration.agent_identity", "4.2", warn},
    {"registration.signing_certificate", "4.2", fails},
    {"registration.encryption_certificate", "4.2", warn},
    {"registration.certificate_encoding", "4.2", fails},
    {"registration.certificate_hex", "4.2", fails},
    {"registration.certificate_case", "R 16", fails},
    {"registration.certificate_der", "4.2", fails},
    {"registration.certificate_rsa", "4.3", fails},
    {"registration.certificate_key_small", "6.5", fails},
    {"registration.key_type", "4.2", fails},
    {"registration.key_type_mismatch", "4.2", warn},
    {"registration.certificate_self_signature", "4.3", fails},
    {"registration.certificate_validity", "4.3", fails},
    {"registration.certificate_key_usage", "4.3", warn},
    {"registration.certificate_eku", "R 26", warn},
    {"registration.property_missing", "4.2", fails},
    {"registration.property_empty", "4.2", fails},
    {"registration.property_duplicate", "4.2", fails},
    {"registration.netbios_name", "4.2", warn},
    {"registration.internet_flag", "4.2", fails},
    {"registration.signature_missing", "4.2", fails},
    {"registration.signature_form", "3.3", fails},
    {"registration.signature", "3.3", fails},
    {"registration.signature_byte_order", "3.3", fails},
    {"registration.signature_no_oid", "3.3", fails},
    {"registration.proxy", "4.7", fails},
    {"registration.smsid_unknown", "4.1", fails},
    {"registration.confirmation_key", "4.5", fails},
    {"registration.rejected", "4.1", fails},
    {"registration.blocked", "3.4", fails},
    {"registration.too_many", "4.1", fails},
    {"registration.hint", "R 21", fails},
    // step 7: reports
    {"report.root", "5.1", fails},
    {"report.header", "5.1", fails},
    {"report.client_installed", "5.1", fails},
    {"report.client_type", "5.1", fails},
    {"report.client_id", "6.5", fails},
    {"report.client_version", "5.1", fails},
    {"report.netbios_name", "5.1", fails},
    {"report.netbios_name_changed", "5.1", warn},
    {"report.code_page", "5.1", fails},
    {"report.lcid", "5.1", fails},
    {"report.priority", "5.1", fails},
    {"report.content", "5.1", fails},
    {"report.type", "5.1", fails},
    {"report.date", "5.1", fails},
    {"report.date_future", "5.1", warn},
    {"report.version_form", "5.1", fails},
    {"report.version_order", "R 2", fails},
    {"report.format", "5.1", fails},
    {"report.action_missing", "5.1", fails},
    {"report.action_type", "5.1", fails},
    {"report.action_id", "5.1", fails},
    {"report.update_time_missing", "5.1", fails},
    {"report.update_time_form", "5.1", fails},
    {"report.update_time_future", "5.1", fails},
    {"report.update_time_policy", "R 7", fails},
    {"report.body_missing", "5.1", fails},
    {"report.full_without_instances", "R 24", fails},
    {"report.delta_without_instances", "5.6", warn},
    {"report.unexpected_element", "5.6", fails},
    {"instance.class", "5.6", fails},
    {"instance.parent_class", "5.6", fails},
    {"instance.namespace", "5.6", fails},
    {"instance.namespace_host", "5.6", warn},
    {"instance.content", "5.6", fails},
    {"instance.content_in_full", "5.6", fails},
    {"instance.element", "5.6", fails},
    {"instance.property", "5.6", fails},
    {"instance.key_missing", "5.6", warn},
    {"instance.duplicate", "5.6", warn},
    {"instance.row_exists", "5.6", warn},
    {"instance.row_unknown", "5.6", warn},
    {"ddr.class_missing", "5.5", warn},
    {"state.no_messages", "5.9", fails},
    {"state.message_time", "5.9", fails},
    {"state.topic", "5.9", fails},
    {"state.state", "5.9", fails},
    {"state.user_parameters", "5.9", fails},
    {"state.serial_form", "5.9", fails},
    {"state.serial_order", "5.9", fails},
    {"state.serial_gap", "5.9", warn},
    {"metering.product", "5.9", fails},
    {"files.action", "5.8", fails},
    {"files.sum", "R 17", fails},
    {"files.entry", "5.8", fails},
    {"files.attachments", "5.8", warn},
    {"status.shape", "5.10", fails},
    {"policy.request", "5.2", fails},
    {"policy.client_id", "5.2", fails},
    {"policy.source", "5.2", warn},
    {"policy.resource", "5.2", fails},
    {"location.root", "5.4", fails},
    {"get.query", "1.6", fails},
};

const std::unordered_map<std::string_view, const Check*>& by_code() {
  static const auto* const made = [] {
    auto* map = new std::unordered_map<std::string_view, const Check*>;
    for (const Check& check : table)
      GREENGATE_CHECK(map->emplace(check.code, &check).second, "each check has a name of its own");
    return map;
  }();
  return *made;
}

const Check& check_of(std::string_view code) {
  const auto it = by_code().find(code);
  GREENGATE_CHECK(it != by_code().end(), "a finding names a check of the table");
  return *it->second;
}

}  // namespace

std::span<const Check> all_checks() {
  return table;
}

Result<void> CheckLevels::set(std::string_view assignment) {
  const std::size_t equals = assignment.find('=');
  const std::string_view name = assignment.substr(0, equals);
  const std::string_view value =
      equals == std::string_view::npos ? "" : assignment.substr(equals + 1);
  CheckLevel level{};
  if (value == "off")
    level = CheckLevel::off;
  else if (value == "warn")
    level = CheckLevel::warn;
  else if (value == "fail")
    level = CheckLevel::fail;
  else
    return greengate::fail(Remedy::reject, "check.syntax",
                           "\"" + std::string(assignment) +
                               "\" is no check setting; write NAME=off, NAME=warn or NAME=fail.");
  const bool family = name.ends_with(".*");
  bool known = false;
  for (const Check& check : table) {
    if (family ? !check.code.starts_with(name.substr(0, name.size() - 1)) : check.code != name)
      continue;
    changed_[check.code] = level;
    known = true;
  }
  if (!known)
    return greengate::fail(
        Remedy::reject, "check.unknown",
        "There is no check \"" + std::string(name) + "\"; GET /mp/checks lists them.");
  return {};
}

CheckLevel CheckLevels::of(const Check& check) const {
  const auto it = changed_.find(check.code);
  return it == changed_.end() ? check.level : it->second;
}

bool Findings::add(std::string_view code, std::string text) {
  const Check& check = check_of(code);
  const CheckLevel level = levels_.of(check);
  if (level == CheckLevel::off) return false;
  record(level == CheckLevel::fail ? violations_ : warnings_, check, std::move(text));
  failed_ = failed_ || level == CheckLevel::fail;
  return level == CheckLevel::fail;
}

void Findings::add_unreadable(std::string_view code, std::string text) {
  record(violations_, check_of(code), std::move(text));
  failed_ = true;
}

void Findings::record(std::vector<Violation>& list, const Check& check, std::string text) {
  if (list.size() < findings_max)
    list.push_back({&check, std::move(text)});
  else
    ++left_out_;
}

std::string shown(std::string_view text) {
  constexpr std::size_t shown_max = 80;
  std::string out = "\"";
  for (const char c : text.substr(0, shown_max)) {
    const auto byte = static_cast<unsigned char>(c);
    out += byte < 0x20 || byte >= 0x7f ? '?' : c;
  }
  return out + (text.size() > shown_max ? "…\"" : "\"");
}

}  // namespace greengate::sim
