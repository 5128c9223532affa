#include "simulators/management_point/replies.h"

#include "simulators/common/text.h"

#include <zlib.h>

#include <fstream>
#include <sstream>

namespace greengate::sim {
namespace {

constexpr std::size_t bodies_max = 256;

// The public documents name the classes of an inventory policy (5.3), not its XML: this text is a
// template, and a file may replace it (readings 6).
constexpr const char* default_template =
    R"(<Policy PolicyID="[policy_id]" PolicyVersion="[policy_version]" PolicyType="Machine" PolicyCategory="InventoryActions">)"
    R"(<PolicyRule PolicyRuleID="[policy_id]"><PolicyAction PolicyActionType="WMI-XML"><instance class="InventoryAction">)"
    R"(<property name="InventoryActionID" type="8"><value>[action_id]</value></property>)"
    R"(<property name="ActionType" type="8"><value>Predefined</value></property>)"
    R"(<property name="Description" type="8"><value>[description]</value></property>)"
    R"(<property name="ReportType" type="8"><value>[report_type]</value></property>)"
    R"(<property name="LastUpdateTime" type="8"><value>[last_update_time]</value></property>)"
    R"(</instance></PolicyAction></PolicyRule></Policy>)";

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos;
       at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

std::string utf16(std::string_view utf8) {
  return utf16le_from_utf8(utf8).value_or("");
}

std::string deflated(const std::string& bytes) {
  std::string out(compressBound(bytes.size()), '\0');
  uLongf size = out.size();
  if (compress2(reinterpret_cast<Bytef*>(out.data()), &size,
                reinterpret_cast<const Bytef*>(bytes.data()), bytes.size(),
                Z_DEFAULT_COMPRESSION) != Z_OK)
    return {};
  out.resize(size);
  return out;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size())
      if (const auto byte = from_hex(text.substr(i + 1, 2))) {
        out += *byte;
        i += 2;
        continue;
      }
    out += text[i];
  }
  return out;
}

Outgoing text_answer(const std::string& xml) {
  Outgoing out;
  out.content_type = "text/xml; charset=utf-16";
  out.body = "\xFF\xFE" + utf16(xml);  // readings 13
  out.xml = xml;
  return out;
}

}  // namespace

Outgoing reply_message(const Envelope& request, const std::string& host_name,
                       const std::string& xml, WallTime now) {
  const std::string stream = xml.empty() ? std::string() : utf16(xml) + std::string(2, '\0');
  const bool compressed = request.reply_compression != "none";
  std::string endpoint = request.reply_to;
  if (const std::size_t colon = endpoint.rfind(':'); colon != std::string::npos)
    endpoint.erase(0, colon + 1);
  // Q17: no public client reads any of this; the request is mirrored.
  std::string msg =
      std::string("<Msg ReplyCompression=\"") + (compressed ? "zlib" : "none") +
      R"(" SchemaVersion="1.1"><Body Type="ByteRange" Length=")" + std::to_string(stream.size()) +
      R"(" Offset="0" /><CorrelationID>)" + xml_escaped(request.id) + "</CorrelationID><Hooks>" +
      (compressed && !xml.empty() ? R"(<Hook3 Name="zlib-compress" />)" : "") + "</Hooks><ID>{" +
      new_guid() +
      R"(}</ID><Payload Type="inline" /><Priority>0</Priority><Protocol>http</Protocol><ReplyMode>None</ReplyMode><SentTime>)" +
      to_iso_utc(now) + "</SentTime><SourceHost>" +
      xml_escaped(host_name.substr(0, host_name.find('.'))) + "</SourceHost><TargetAddress>" +
      xml_escaped(request.reply_to) + "</TargetAddress><TargetEndpoint>" + xml_escaped(endpoint) +
      "</TargetEndpoint><TargetHost>" + xml_escaped(request.source_host) +
      "</TargetHost><Timeout>60000</Timeout></Msg>";
  const std::string line = std::string("--") + reply_boundary;
  Outgoing out;
  out.content_type = std::string("multipart/mixed; boundary=\"") + reply_boundary + "\"";
  out.body =
      line + "\r\ncontent-type: text/plain; charset=UTF-16\r\n\r\n\xFF\xFE" + utf16(msg) + "\r\n";
  if (!xml.empty())
    out.body += line + "\r\ncontent-type: application/octet-stream\r\n\r\n" +
                (compressed ? deflated(stream) : stream) + "\r\n";
  out.body += line + "--\r\n";
  out.xml = xml;
  return out;
}

std::string registration_response(bool confirmation, int status, const std::string& sms_id,
                                  const std::string& approval_status, WallTime now) {
  std::string xml = std::string("<ClientRegistrationResponse ResponseType=\"") +
                    (confirmation ? "Confirmation" : "Registration") + "\" TimeStamp=\"" +
                    to_iso_utc(now) + "\" Status=\"" + std::to_string(status) + "\"";
  if (!sms_id.empty()) xml += " SMSID=\"" + sms_id + "\"";
  if (!approval_status.empty()) xml += " ApprovalStatus=\"" + approval_status + "\"";
  return xml + " />";
}

SiteAnswers::SiteAnswers(const MpSettings& settings, std::string signing_certificate_der,
                         std::string mp_certificate_der, WallTime policy_date)
    : settings_(settings),
      signing_certificate_(std::move(signing_certificate_der)),
      mp_certificate_(std::move(mp_certificate_der)),
      template_(default_template),
      policy_date_(policy_date) {}

Result<void> SiteAnswers::open() {
  if (settings_.policy_template_file.empty()) return {};
  std::ifstream in(settings_.policy_template_file, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  template_ = text.str();
  constexpr std::size_t template_bytes_max = 1024 * 1024;
  if (!in || template_.empty() || template_.size() > template_bytes_max ||
      !utf16le_from_utf8(template_))
    return fail(Remedy::reject, "policy.template",
                "The policy template " + settings_.policy_template_file.string() +
                    " cannot be read, is empty, is longer than 1 MiB or is not UTF-8.");
  return {};
}

std::string SiteAnswers::assignment(const Action& action) {
  std::string xml = template_;
  replace_all(xml, "[policy_id]", action.policy_id);
  replace_all(xml, "[policy_version]", action.version);
  replace_all(xml, "[action_id]", action.action_id);
  replace_all(xml, "[description]", action.description);
  replace_all(xml, "[report_type]", action.report_type);
  replace_all(xml, "[last_update_time]", to_cim_utc(policy_date_));
  // 5.3: UTF-16LE with BOM and NUL; readings 15: the hash is over all of it.
  const std::string body = "\xFF\xFE" + utf16(xml) + std::string(2, '\0');
  const std::string hash = to_hex_upper(sha256(body));
  const std::string query = action.policy_id + ".SHA256:" + hash;
  {
    const std::lock_guard lock(mutex_);
    if (bodies_.emplace(to_lower(query), body).second) {
      body_order_.push_back(to_lower(query));
      if (body_order_.size() > bodies_max) {
        bodies_.erase(body_order_.front());
        body_order_.erase(body_order_.begin());
      }
    }
  }
  return "<PolicyAssignment PolicyAssignmentID=\"" + action.policy_id +
         R"("><Condition><Expression ExpressionType="until-true" ExpressionLanguage="WQL"></Expression></Condition><Policy PolicyID=")" +
         action.policy_id + "\" PolicyVersion=\"" + action.version +
         R"(" PolicyType="Machine" PolicyCategory="InventoryActions" PolicyFlags=")" +
         std::to_string(action.flags) + R"("><PolicyLocation PolicyHash="" PolicyHashEx="SHA256:)" + hash + "\"><![CDATA[http://<mp>/SMS_MP/.sms_pol?" + query +
         "]]></PolicyLocation></Policy></PolicyAssignment>";
}

std::string SiteAnswers::assignments(
    const std::string& sms_id, const std::string& fqdn, const std::string& netbios_name,
    const std::vector<std::pair<std::string, std::uint64_t>>& resync,
    const std::string& policy_source, WallTime now) {
  std::string cookie = to_iso_utc(now);
  cookie[10] = ' ';
  cookie.resize(19);
  std::string xml =
      R"(<ReplyAssignments SchemaVersion="1.00" ReplyType="Full"><Identification><Machine><ClientID>)" +
      sms_id + "</ClientID><FQDN>" + xml_escaped(fqdn) + "</FQDN><NetBIOSName>" +
      xml_escaped(netbios_name) + "</NetBIOSName><SID /></Machine></Identification><PolicySource>" +
      xml_escaped(policy_source) +
      R"(</PolicySource><Resource ResourceType="Machine" /><ServerCookie>)" + cookie +
      ".000</ServerCookie>";
  xml += assignment({"{0D0E0F00-0000-4000-8000-0000000000AA}", "1.00",
                     "{00000000-0000-0000-0000-000000000001}", "Hardware", "Full"});
  if (settings_.forbidden_policies)
    for (const int flags : {1, 2, 4, 68})
      xml += assignment({"{0D0E0F00-0000-4000-8000-0000000000F" + std::to_string(flags % 10) + "}", "1.00",
                         "{00000000-0000-0000-0000-000000000001}", "Hardware", "Resync", flags});
  for (const auto& [kind, number] : resync) {
    const bool hardware = kind == "hardware";
    xml += assignment({hardware ? "{0D0E0F00-0000-4000-8000-0000000000B1}"
                                : "{0D0E0F00-0000-4000-8000-0000000000B2}",
                       std::to_string(number) + ".00",
                       hardware ? "{00000000-0000-0000-0000-000000000001}"
                                : "{00000000-0000-0000-0000-000000000002}",
                       hardware ? "Hardware" : "Software", "Resync"});
  }
  return xml + "</ReplyAssignments>";
}

bool SiteAnswers::set_locations(const std::string& subnet, std::vector<std::string> points) {
  constexpr std::size_t subnets_max = 256;
  const std::lock_guard lock(mutex_);
  if (points.empty()) return points_.erase(subnet), true;
  if (points_.size() >= subnets_max && !points_.contains(subnet)) return false;
  points_[subnet] = std::move(points);
  return true;
}

std::optional<std::string> SiteAnswers::location(std::string_view root, std::string_view subnet) const {
  const std::string& site = settings_.site_code;
  if (root == "WSUSLocationRequest")
    return R"(<WSUSLocationReply SchemaVersion="1.00"><Sites><Site><MPSite SiteCode=")" + site +
           R"("/><LocationRecords><LocationRecord WSUSURL="http://sup01.example.test:8530" ServerName="sup01.example.test" Version="1"/></LocationRecords></Site></Sites></WSUSLocationReply>)";
  if (root == "ContentLocationRequest")
    return R"(<ContentLocationReply SchemaVersion="1.00"><ContentInfo PackageFlags="0"><ContentHashValues/></ContentInfo><Sites><Site><MPSite SiteCode=")" +
           site + "\" MasterSiteCode=\"" + site +
           R"(" SiteLocality="LOCAL" IISPreferedPort="80" IISSSLPreferedPort="443"/><LocationRecords></LocationRecords></Site></Sites></ContentLocationReply>)";
  if (root == "SiteInformationRequest")
    return R"(<SiteInfoReply SchemaVersion="1.00"><Site><SiteCode>)" + site +
           "</SiteCode><Version>" + settings_.site_version +
           "</Version><BuildNumber>9128</BuildNumber></Site></SiteInfoReply>";
  if (root == "EnumerateMPLocationRequest") {
    const std::lock_guard lock(mutex_);
    auto found = points_.find(std::string(subnet));
    if (found == points_.end()) found = points_.find("*");
    if (found == points_.end()) return std::nullopt;
    std::string xml = R"(<EnumerateMPLocationReply SchemaVersion="1.00">)";
    for (const std::string& point : found->second)
      xml += "<MP Name=\"" + point.substr(0, point.find('.')) + "\" FQDN=\"" + point +
             R"("><Version>9128</Version><Capabilities SchemaVersion="1.0"><Property Name="SSLState" Value=")" + (settings_.https_only ? "63" : "0") +
             "\"/></Capabilities></MP>";
    return xml + "</EnumerateMPLocationReply>";
  }
  return std::nullopt;
}

std::optional<Outgoing> SiteAnswers::sms_aut(std::string_view query) const {
  const std::string_view verb = query.substr(0, query.find('&'));
  const auto is = [&](std::string_view name) { return equals_ignoring_case(verb, name); };
  const std::string state =
      settings_.https_only ? "63" : "0";  // 1.6: non-zero is HTTPS; 63 is usual (I)
  std::string upper = settings_.host_name;
  for (char& c : upper)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
  if (is("MPLIST") || is("MPLIST1") || is("MPLIST2")) {
    const std::string site = is("MPLIST") ? "" : " SiteCode=\"" + settings_.site_code + "\"";
    return text_answer(
        "<MPList><MP Name=\"" + upper + "\" FQDN=\"" + settings_.host_name + "\"" + site +
        R"(><Version>9128</Version><Capabilities SchemaVersion="1.0"><Property Name="SSLState" Value=")" +
        state + "\"/></Capabilities></MP></MPList>");
  }
  if (is("SITESIGNCERT"))
    return text_answer("<SiteSigningCert><X509Certificate>" + to_hex_upper(signing_certificate_) +
                       "</X509Certificate></SiteSigningCert>");
  if (is("MPCERT"))
    return text_answer("<MPCertificate><X509Certificate>" + to_hex_upper(mp_certificate_) +
                       "</X509Certificate></MPCertificate>");
  if (is("MPKEYINFORMATION"))
    return text_answer("<MPKEYINFORMATION><FQDN>" + settings_.host_name + "</FQDN><SITECODE>" +
                       settings_.site_code + "</SITECODE></MPKEYINFORMATION>");
  if (is("MPKEYINFORMATIONMEDIA"))
    return text_answer(
        "<MPKEYINFORMATIONMEDIA><SITECODE>" + settings_.site_code +
        R"(</SITECODE><UnknownMachines x86UnknownMachineGUID="0D0E0F00-0000-4000-8000-000000000086" x64UnknownMachineGUID="0D0E0F00-0000-4000-8000-000000000064"/></MPKEYINFORMATIONMEDIA>)");
  if (is("MPLOCATION"))
    return text_answer("<MPLocation><MP Name=\"" + upper + "\" FQDN=\"" + settings_.host_name +
                       "\"/></MPLocation>");
  if (is("SMSTRC")) return Outgoing{};
  return std::nullopt;
}

std::optional<Outgoing> SiteAnswers::sms_pol(std::string_view query) const {
  const std::string wanted = to_lower(percent_decoded(query));
  const std::lock_guard lock(mutex_);
  const auto it = bodies_.find(wanted);
  if (it == bodies_.end()) return std::nullopt;
  Outgoing out;
  out.content_type = "text/xml";
  out.body = it->second;
  return out;
}

}  // namespace greengate::sim
