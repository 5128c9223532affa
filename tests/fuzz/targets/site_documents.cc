// What a management point answers to whoever asks: location replies, and the documents of .sms_aut. First byte: which of them.
#include "adapters/mp/bootstrap.h"
#include "adapters/mp/location.h"
#include "tests/fuzz/targets/check.h"

#include <arpa/inet.h>

#include <algorithm>

using namespace greengate;
using fuzz::must;

namespace {

const adapters::MpSettings& settings() {
  static const adapters::MpSettings made = [] {
    adapters::MpSettings all;
    all.site_code = "P01";
    return all;
  }();
  return made;
}

// Asked of the system, not of the code under test.
void check_learned_host(const std::string& host) {
  in_addr v4{};
  in6_addr v6{};
  must(host.find('.') != std::string::npos && host.size() <= 253, "a learned host has a domain");
  must(std::all_of(host.begin(), host.end(), [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_'; }),
       "a learned host is a plain lower-case name");
  must(inet_aton(host.c_str(), &v4) == 0 && inet_pton(AF_INET6, host.c_str(), &v6) == 0, "a learned host is no address");
  must(!host.ends_with(".localhost") && !host.ends_with(".local") && host.front() != '.' && host.back() != '.', "a learned host is not this machine");
}

void locate(adapters::LocationKind kind, std::string_view xml) {
  const auto places = adapters::parse_location_reply(settings(), kind, xml);
  if (!places) return must(places.error().remedy == Remedy::reject, "an unreadable reply is refused");
  must(places->size() <= 512, "at most 512 places");
  for (const auto& place : *places) {
    for (const std::string* text : {&place.url, &place.server, &place.site_code, &place.version, &place.detail})
      must(text->size() <= 2'048 + 16, "a place's texts are bounded");
    if (kind != adapters::LocationKind::management_points) continue;
    must(!place.server.empty() && place.server.size() <= 253 &&
             std::all_of(place.server.begin(), place.server.end(),
                         [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == ':'; }),
         "a management point's name is one plain lower-case word");
    if (adapters::fit_for_learned_host(place.server)) check_learned_host(place.server);
  }
}

void certificate(const Result<std::string>& der) {
  if (!der) return must(der.error().remedy == Remedy::reject, "what is no certificate is refused");
  must(!der->empty() && der->size() <= 64 * 1024, "a certificate is small");
  must(adapters::fingerprint_of(*der).size() == 64, "a fingerprint is 64 digits");
  must(adapters::certificate_of_file(adapters::pem_of_certificate(*der)).has_value(), "a certificate that was kept is read again");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text = fuzz::text_of(data + 1, size - 1);
  switch (data[0] % 8) {
    case 0: locate(adapters::LocationKind::management_points, text); break;
    case 1: locate(adapters::LocationKind::content, text); break;
    case 2: locate(adapters::LocationKind::update_server, text); break;
    case 3: locate(adapters::LocationKind::site, text); break;
    case 4: {
      std::size_t unfit = 0;
      const auto points = adapters::parse_mp_list(settings(), text, &unfit);
      if (!points) break;
      must(points->size() + unfit <= 256, "at most 256 management points");
      for (const auto& point : *points) {
        check_learned_host(point.host);
        must(adapters::fit_for_learned_host(point.host), "what is learned is fit");
        must(point.site_code.size() <= 128 && point.version.size() <= 128, "a point's texts are bounded");
      }
      break;
    }
    case 5: certificate(adapters::parse_certificate(settings(), text)); break;
    case 6: certificate(adapters::certificate_of_file(text)); break;
    default:
      if (const auto known = adapters::parse_key_information(settings(), text))
        must(known->fqdn.size() <= 128 && known->site_code.size() <= 128, "key information is bounded");
  }
  return 0;
}
