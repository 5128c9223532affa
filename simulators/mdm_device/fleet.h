#pragma once

#include "simulators/common/authority.h"
#include "simulators/mdm_device/device.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace greengate::sim::mdm {

/// All simulated devices, their certificates, and the list an MDM server needs to know them.
///
/// Promise   `enrolments.json` and `enrolments.toml` always name exactly the enrolled devices; they are replaced whole. Certificates and keys survive a restart in
///           `device-certificates/`; a device of the same name and seed keeps its DeviceID.
/// Limits    100 000 devices.
/// Threads   The io_context's one thread.
/// Errors    fleet.name, fleet.full, authority.*, evidence.*, option.dm_ca
class Fleet {
 public:
  Fleet(boost::asio::io_context& io, SimClock& clock, Dice& dice, Settings& settings, wns::Apps& apps, wns::Channels& channels, std::uint64_t seed);
  Result<void> start();
  void stop();

  struct Birth {
    std::string build = "11", edition = "desktop", host;
  };
  /// The device of that name, made and enrolled when there is none. Its first session is the caller's to start.
  Result<std::shared_ptr<Device>> enroll(const std::string& name, const Birth& birth);
  Result<void> reenroll(Device& device);
  std::shared_ptr<Device> find(const std::string& name) const;
  const std::map<std::string, std::shared_ptr<Device>>& all() const { return devices_; }
  /// A change in who is enrolled is written to the list, at the latest when the clock next rests.
  Result<void> write_list();
  const Authority& authority() const { return *authority_; }
  std::filesystem::path list_file() const { return settings_.dir / "enrolments.json"; }

 private:
  Result<Issued> certificate_for(const std::string& name, const std::string& device_id, bool fresh);

  boost::asio::io_context& io_;
  SimClock& clock_;
  Dice& dice_;
  Settings& settings_;
  wns::Apps& apps_;
  wns::Channels& channels_;
  const std::uint64_t seed_;
  boost::asio::ssl::context tls_;
  ExactEvidence evidence_;
  std::optional<Authority> authority_;
  std::map<std::string, std::shared_ptr<Device>> devices_;
  std::string written_;
};

}  // namespace greengate::sim::mdm
