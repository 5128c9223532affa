#include "adapters/mp/location.h"

#include "adapters/mp/bootstrap.h"
#include "adapters/mp/reply_walk.h"
#include "adapters/mp/reply_xml.h"
#include "adapters/mp/xml_writer.h"

#include <algorithm>
#include <cctype>

namespace greengate::adapters {
namespace {

constexpr std::size_t places_max = 512;
constexpr std::size_t text_bytes_max = 2'048;

/// "lnx-a001.example.test" gives "EXAMPLE.TEST".
std::string domain_of(std::string_view fqdn) {
  const auto dot = fqdn.find('.');
  std::string domain(dot == std::string_view::npos ? std::string_view() : fqdn.substr(dot + 1));
  std::transform(domain.begin(), domain.end(), domain.begin(), [](unsigned char c) { return std::toupper(c); });
  return domain;
}

void write_named(XmlWriter& to, std::string_view tag, std::string_view name) {
  to.markup("<");
  to.markup(tag);
  to.markup(" Name=\"");
  to.attribute(name);
  to.markup("\"/>");
}

void write_assigned_site(XmlWriter& to, const MpSettings& settings) {
  to.markup("<AssignedSite SiteCode=\"");
  to.attribute(settings.site_code);
  to.markup("\"/>");
}

/// What is inside ClientLocationInfo, and its end.
void write_whereabouts(XmlWriter& to, const MpSettings& settings, const MpIdentity& identity, const LocationQuestion& question) {
  const std::string own = domain_of(identity.fqdn);
  const std::string& domain = settings.domain.empty() ? own : settings.domain;
  write_named(to, "ADSite", settings.ad_site);
  write_named(to, "Forest", settings.forest.empty() ? domain : settings.forest);
  write_named(to, "Domain", domain);
  to.markup("<IPAddresses><IPAddress SubnetAddress=\"");
  to.attribute(question.subnet);
  to.markup("\" Address=\"");
  to.attribute(question.address);
  to.markup("\"/></IPAddresses></ClientLocationInfo>");
}

std::string text(std::string_view value) { return value.size() > text_bytes_max ? std::string() : std::string(value); }

std::string child_text(const pugi::xml_node& node, const char* name) { return text(node.child(name).text().get()); }

/// The MPSite of the Site a record belongs to.
std::string site_of(pugi::xml_node node) {
  for (; node; node = node.parent())
    if (std::string_view(node.name()) == "Site") return text(node.child("MPSite").attribute("SiteCode").value());
  return {};
}

Location content_at(const pugi::xml_node& record) {
  Location place;
  place.url = text(record.child("URL").attribute("Name").value());
  place.server = child_text(record, "ServerRemoteName");
  place.version = child_text(record, "Version");
  place.https = ssl_state_of(record);
  place.detail = child_text(record, "DPType");
  place.site_code = site_of(record);
  return place;
}

Location update_server_at(const pugi::xml_node& record) {
  Location place;
  place.url = text(record.attribute("WSUSURL").value());
  place.server = text(record.attribute("ServerName").value());
  place.version = text(record.attribute("Version").value());
  place.https = place.url.starts_with("https://");
  place.site_code = site_of(record);
  return place;
}

Location site_at(const pugi::xml_node& site) {
  Location place;
  place.site_code = child_text(site, "SiteCode");
  place.version = child_text(site, "Version");
  if (const std::string build = child_text(site, "BuildNumber"); !build.empty()) place.detail = "build " + build;
  return place;
}

}  // namespace

Result<OutgoingMessage> location_request(const MpSettings& settings, const MpIdentity& identity, const ReportFacts& facts,
                                         const LocationQuestion& question) {
  XmlWriter to(4096, settings.message_bytes_max);
  switch (question.kind) {
    case LocationKind::content:
      to.markup("<ContentLocationRequest SchemaVersion=\"1.00\" BGRVersion=\"1\">");
      write_assigned_site(to, settings);
      to.markup("<Package ID=\"");
      to.attribute(question.package_id);
      to.markup("\" Version=\"");
      to.unsigned_number(question.package_version);
      to.markup("\"/><ClientLocationInfo LocationType=\"SMSPackage\" DistributeOnDemand=\"0\" UseProtected=\"0\" AllowCaching=\"0\""
                " BranchDPFlags=\"0\" AllowHTTP=\"1\" AllowSMB=\"0\" AllowMulticast=\"0\" UseInternetDP=\"");
      to.markup(settings.internet_flag == 2 ? "1\">" : "0\">");
      write_whereabouts(to, settings, identity, question);
      to.markup("</ContentLocationRequest>");
      break;
    case LocationKind::update_server:
      to.markup("<WSUSLocationRequest SchemaVersion=\"1.00\"><Content ID=\"");
      to.attribute(settings.update_source_id);
      to.markup("\" Version=\"");
      to.unsigned_number(settings.update_source_version);
      to.markup("\"/>");
      write_assigned_site(to, settings);
      to.markup(settings.internet_flag == 2 ? "<ClientLocationInfo OnInternet=\"1\">" : "<ClientLocationInfo OnInternet=\"0\">");
      write_whereabouts(to, settings, identity, question);
      to.markup("</WSUSLocationRequest>");
      break;
    case LocationKind::management_points:
      to.markup("<EnumerateMPLocationRequest SchemaVersion=\"1.00\">");
      write_assigned_site(to, settings);
      to.markup(settings.internet_flag == 2 ? "<ClientLocationInfo OnInternet=\"1\">" : "<ClientLocationInfo OnInternet=\"0\">");
      write_whereabouts(to, settings, identity, question);
      to.markup("</EnumerateMPLocationRequest>");
      break;
    case LocationKind::site:
      to.markup("<SiteInformationRequest SchemaVersion=\"1.00\">");
      write_named(to, "SiteCode", settings.site_code);
      to.markup("</SiteInformationRequest>");
      break;
  }
  Draft draft = draft_of(settings, "MP_LocationManager", to.take());
  draft.invoke = true;
  draft.is_signed = false;
  return assemble(settings, identity, facts, std::move(draft));
}

Result<std::vector<Location>> parse_location_reply(const MpSettings& settings, LocationKind kind, std::string_view xml) {
  std::vector<Location> places;
  if (kind == LocationKind::management_points) {
    auto listed = parse_named_points(settings, xml);
    if (!listed) return pass(listed);
    for (const ListedPoint& point : *listed) {
      Location place;
      place.server = point.host;
      place.url = (point.https ? "https://" : "http://") + point.host;
      place.https = point.https;
      place.site_code = point.site_code;
      place.version = point.version;
      places.push_back(std::move(place));
    }
    return places;
  }
  pugi::xml_document tree;
  if (auto parsed = parse_reply_xml(settings, xml, tree); !parsed) return pass(parsed);
  const auto refuse = [](const char* why) {
    return fail(Remedy::reject, "mp.location_reply", std::string("The location reply ") + why + ".");
  };
  const std::string_view root = tree.document_element().name();
  const bool right = kind == LocationKind::content         ? root == "ContentLocationReply"
                     : kind == LocationKind::update_server ? root == "WSUSLocationReply"
                                                           : root == "SiteInfoReply" || root == "SiteInformationReply";
  if (!right) return refuse("answers another question");
  const std::string_view wanted = kind == LocationKind::site ? "Site" : "LocationRecord";
  for (pugi::xml_node node = tree.document_element(); node; node = next_element(node)) {
    if (wanted != node.name()) continue;
    if (places.size() >= places_max) return refuse("names too many places");
    places.push_back(kind == LocationKind::content         ? content_at(node)
                     : kind == LocationKind::update_server ? update_server_at(node)
                                                           : site_at(node));
  }
  return places;
}

}  // namespace greengate::adapters
