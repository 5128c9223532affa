#include "gateway/mp_doors.h"

#include "adapters/http/url.h"
#include "adapters/mp/management_point.h"

namespace greengate::gateway {
namespace {

class RealDoor final : public workers::MpDoor {
 public:
  RealDoor(std::string name, adapters::HttpClient& http, const Clock& clock, const adapters::MpSettings& settings,
           adapters::Url server)
      : name_(std::move(name)), point_(http, clock, settings, std::move(server)) {}
  const std::string& name() const override { return name_; }
  Result<adapters::Verdict> send(const adapters::OutgoingMessage& message) override { return point_.send(message); }
  Result<std::string> get(std::string_view target) override { return point_.get(target); }
  void abandon() override { point_.abandon(); }

 private:
  const std::string name_;
  adapters::ManagementPoint point_;
};

}  // namespace

Result<std::unique_ptr<workers::MpDoor>> open_mp_door(const std::string& address, const adapters::MpSettings& settings,
                                                      adapters::HttpClient& http, const Clock& clock) {
  auto url = adapters::parse_url(address);
  if (!url) return pass(url);
  return std::make_unique<RealDoor>(address, http, clock, settings, std::move(*url));
}

Result<std::vector<std::unique_ptr<workers::MpDoor>>> open_mp_doors(const SiteConfig& site,
                                                                    const adapters::MpSettings& settings,
                                                                    adapters::HttpClient& http, const Clock& clock) {
  std::vector<std::unique_ptr<workers::MpDoor>> doors;
  for (const std::string& address : site.management_points) {
    auto door = open_mp_door(address, settings, http, clock);
    if (!door) return pass(door);
    doors.push_back(std::move(*door));
  }
  return doors;
}

}  // namespace greengate::gateway
