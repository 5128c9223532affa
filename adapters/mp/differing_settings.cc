#include "adapters/mp/differing_settings.h"

namespace greengate::adapters {
namespace {

std::string on_off(bool on) { return on ? "true" : "false"; }

std::string layout(InventoryLayout layout) {
  switch (layout) {
    case InventoryLayout::inline_body: return "inline";
    case InventoryLayout::attach: return "attach";
    case InventoryLayout::captured: return "captured";
  }
  return "";
}

std::string pairs(const std::map<std::string, std::string>& properties) {
  std::string out;
  for (const auto& [name, value] : properties) out += (out.empty() ? "" : ",") + name + "=" + value;
  return out;
}

std::string mode(IdentityMode mode) {
  switch (mode) {
    case IdentityMode::per_client_key: return "per_client_key";
    case IdentityMode::shared_key: return "shared_key";
    case IdentityMode::isv_proxy: return "isv_proxy";
  }
  return "";
}

std::string hint(HintUse use) {
  switch (use) {
    case HintUse::ca: return "ca";
    case HintUse::always: return "always";
    case HintUse::never: return "never";
  }
  return "";
}

struct Known {
  std::string_view key, grade;
  std::string (*text)(const MpSettings& s);
};

constexpr Known known[] = {
    {"request_path", "D", [](const MpSettings& s) { return s.request_path; }},
    {"boundary", "M", [](const MpSettings& s) { return s.boundary; }},
    {"user_agent", "S", [](const MpSettings& s) { return s.user_agent; }},
    {"post_reply_mode", "S", [](const MpSettings& s) { return s.post_reply_mode; }},
    {"reply_compression", "M", [](const MpSettings& s) { return s.reply_compression; }},
    {"timeout", "M", [](const MpSettings& s) { return s.timeout; }},
    {"reply_endpoint", "M", [](const MpSettings& s) { return s.reply_endpoint; }},
    {"offer_registration_reset", "S", [](const MpSettings& s) { return on_off(s.offer_registration_reset); }},
    {"compress", "M", [](const MpSettings& s) { return on_off(s.compress); }},
    {"compression_level", "M", [](const MpSettings& s) { return std::to_string(s.compression_level); }},
    {"trailing_crlf", "M", [](const MpSettings& s) { return on_off(s.trailing_crlf); }},
    {"hash", "M", [](const MpSettings& s) { return std::string(s.hash == SignatureHash::sha1 ? "sha1" : "sha256"); }},
    {"send_public_key", "S", [](const MpSettings& s) { return on_off(s.send_public_key); }},
    {"send_client_id_signature", "S", [](const MpSettings& s) { return on_off(s.send_client_id_signature); }},
    {"client_capabilities", "M", [](const MpSettings& s) { return s.client_capabilities; }},
    {"encrypt", "I", [](const MpSettings& s) { return on_off(s.encrypt); }},
    {"verify_reply", "I", [](const MpSettings& s) { return on_off(s.verify_reply); }},
    {"certificate_common_name", "M", [](const MpSettings& s) { return s.certificate.common_name; }},
    {"certificate_days", "S", [](const MpSettings& s) { return std::to_string(s.certificate.days); }},
    {"certificate_back_dated_days", "S", [](const MpSettings& s) { return std::to_string(s.certificate.back_dated_days); }},
    {"identity_mode", "M", [](const MpSettings& s) { return mode(s.identity_mode); }},
    {"proxy_property", "I", [](const MpSettings& s) { return s.proxy_property; }},
    {"agent_identity", "D", [](const MpSettings& s) { return s.agent_identity; }},
    {"agent_type", "D", [](const MpSettings& s) { return std::to_string(s.agent_type); }},
    {"key_type", "S", [](const MpSettings& s) { return std::to_string(s.key_type); }},
    {"registration_hint", "D", [](const MpSettings& s) { return hint(s.registration_hint); }},
    {"internet_flag", "D", [](const MpSettings& s) { return std::to_string(s.internet_flag); }},
    {"reg_extra_properties", "I", [](const MpSettings& s) { return pairs(s.reg_extra_properties); }},
    {"client_version", "S", [](const MpSettings& s) { return s.client_version; }},
    {"code_page", "M", [](const MpSettings& s) { return std::to_string(s.code_page); }},
    {"lcid", "M", [](const MpSettings& s) { return std::to_string(s.lcid); }},
    {"inventory_layout", "S", [](const MpSettings& s) { return layout(s.inventory_layout); }},
    {"relay_filetype_form", "I", [](const MpSettings& s) { return std::string(s.relay_filetype_form == FileTypeForm::element ? "element" : "hookprop"); }},
    {"file_attachment_name", "I", [](const MpSettings& s) { return std::string(s.file_attachment_name == FileAttachmentName::file_name ? "file_name" : "path"); }},
    {"metering_history", "I", [](const MpSettings& s) { return std::string(s.metering_history == MeteringHistory::empty ? "empty" : "attributes"); }},
    {"idmif_action", "D", [](const MpSettings& s) { return std::to_string(s.idmif_action); }},
    {"platform_id", "I", [](const MpSettings& s) { return s.platform_id; }},
    {"state_priority", "M", [](const MpSettings& s) { return std::to_string(s.state_priority); }},
    {"policy_request_type", "M", [](const MpSettings& s) { return s.policy_request_type; }},
    {"policy_validation", "S", [](const MpSettings& s) { return s.policy_validation; }},
    {"message_bytes_max", "I", [](const MpSettings& s) { return std::to_string(s.message_bytes_max); }},
};

}  // namespace

std::vector<SettingDifference> differing_settings(const MpSettings& settings) {
  const MpSettings usual;
  std::vector<SettingDifference> found;
  for (const Known& each : known) {
    std::string now = each.text(settings), before = each.text(usual);
    if (now != before) found.push_back({each.key, std::move(now), std::move(before), each.grade});
  }
  return found;
}

std::vector<std::string_view> protocol_setting_keys() {
  std::vector<std::string_view> keys;
  for (const Known& each : known) keys.push_back(each.key);
  return keys;
}

}  // namespace greengate::adapters
