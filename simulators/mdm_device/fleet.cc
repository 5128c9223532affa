#include "simulators/mdm_device/fleet.h"

#include "simulators/common/crypto.h"
#include "simulators/common/text.h"

#include <boost/asio/ssl.hpp>
#include <boost/json.hpp>

#include <algorithm>
#include <fstream>
#include <sstream>

namespace greengate::sim::mdm {
namespace {

namespace json = boost::json;
constexpr std::size_t devices_max = 100'000;

bool is_name(const std::string& name) {
  return !name.empty() && name.size() <= 40 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_'; });
}

}  // namespace

Fleet::Fleet(boost::asio::io_context& io, SimClock& clock, Dice& dice, Settings& settings, wns::Apps& apps,
             wns::Channels& channels, std::uint64_t seed)
    : io_(io),
      clock_(clock),
      dice_(dice),
      settings_(settings),
      apps_(apps),
      channels_(channels),
      seed_(seed),
      tls_(boost::asio::ssl::context::tls_client),
      evidence_(settings.dir, "device-sessions", settings.evidence) {}

Result<void> Fleet::start() {
  auto authority = Authority::open(settings_.dir, "device-ca", "Simulated device enrolment authority");
  if (!authority) return pass(authority);
  authority_ = std::move(*authority);
  std::error_code error;
  std::filesystem::create_directories(settings_.dir / "device-certificates", error);
  if (!error) std::filesystem::permissions(settings_.dir / "device-certificates", std::filesystem::perms::owner_all, error);
  if (error)
    return fail(Remedy::reject, "evidence.folder", "The folder of device certificates cannot be made: " + error.message() + ".");
  if (!settings_.dm_ca_file.empty()) {
    boost::system::error_code unread;
    tls_.load_verify_file(settings_.dm_ca_file, unread);
    if (unread)
      return fail(Remedy::reject, "option.dm_ca",
                  "The file " + settings_.dm_ca_file + " holds no certificates: " + unread.message() + ".");
  }
  if (auto opened = evidence_.open(); !opened) return opened;
  return write_list();
}

void Fleet::stop() {
  for (const auto& [name, device] : devices_) device->leave();
  devices_.clear();
}

Result<Issued> Fleet::certificate_for(const std::string& name, const std::string& device_id, bool fresh) {
  const std::filesystem::path path = settings_.dir / "device-certificates" / (name + ".pem");
  if (std::ifstream in(path, std::ios::binary); in && !fresh) {
    std::stringstream text;
    text << in.rdbuf();
    return issued_from_pem(text.str());
  }
  auto issued = authority_->client(device_id);
  if (!issued) return issued;
  if (auto written = write_private(path, issued->certificate_pem + issued->key_pem); !written) return pass(written);
  return issued;
}

Result<std::shared_ptr<Device>> Fleet::enroll(const std::string& name, const Birth& birth) {
  if (!is_name(name)) return fail(Remedy::reject, "fleet.name", "A device's name has up to 40 letters, digits, - and _.");
  if (const auto known = find(name)) {
    if (!known->enrolled())
      if (auto again = reenroll(*known); !again) return pass(again);
    return known;
  }
  if (devices_.size() >= devices_max)
    return fail(Remedy::reject, "fleet.full", "There are " + std::to_string(devices_max) + " devices already.");
  const std::string device_id = to_hex_upper(sha256(std::to_string(seed_) + ":" + name).substr(0, 16));
  auto certificate = certificate_for(name, device_id, false);
  if (!certificate) return pass(certificate);
  auto device = std::make_shared<Device>(World{io_, clock_, dice_, settings_, apps_, channels_, evidence_, tls_}, name, device_id,
                                         std::move(*certificate));
  device->build = birth.build;
  device->edition = birth.edition;
  device->channel_host = birth.host;
  device->begin();
  devices_[name] = device;
  return device;
}

Result<void> Fleet::reenroll(Device& device) {
  auto certificate = certificate_for(device.name(), device.device_id(), true);
  if (!certificate) return pass(certificate);
  device.enroll_again(std::move(*certificate));
  return write_list();
}

std::shared_ptr<Device> Fleet::find(const std::string& name) const {
  const auto found = devices_.find(name);
  return found == devices_.end() ? nullptr : found->second;
}

Result<void> Fleet::write_list() {
  json::array list;
  std::string table;  // the same as a gateway reads it
  for (const auto& [name, device] : devices_)
    if (device->enrolled()) {
      table += "[[device]]\nname = \"" + name + "\"\ndevice_id = \"" + device->device_id() + "\"\ncertificate_sha256 = \"" +
               device->certificate().fingerprint + "\"\n\n";
      list.push_back(json::object{{"name", name},
                                  {"device_id", device->device_id()},
                                  {"certificate_sha256", device->certificate().fingerprint},
                                  {"serial", device->certificate().serial},
                                  {"provider_id", settings_.provider_id}});
    }
  std::string text = json::serialize(json::object{{"devices", std::move(list)}}) + "\n";
  if (text == written_) return {};
  const auto replace = [&](const std::filesystem::path& path, const std::string& content) {
    const std::filesystem::path part = path.string() + ".part";
    std::ofstream out(part, std::ios::binary);
    out << content;
    out.close();
    std::error_code error;
    if (out) std::filesystem::rename(part, path, error);
    return out && !error;
  };
  if (!replace(list_file(), text) || !replace(settings_.dir / "enrolments.toml", table))
    return fail(Remedy::retry, "fleet.list", "The list of enrolments cannot be written to " + settings_.dir.string() + ".");
  written_ = std::move(text);
  return {};
}

}  // namespace greengate::sim::mdm
