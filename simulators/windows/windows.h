#pragma once

#include "simulators/common/admin_server.h"
#include "simulators/common/fields.h"
#include "simulators/mdm_device/fleet.h"
#include "simulators/wns/wns.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>

#include <functional>
#include <map>
#include <memory>
#include <string>

namespace greengate::sim {

struct WindowsSettings {
  std::filesystem::path dir = "sim-evidence";
  EvidenceLevel evidence = EvidenceLevel::full;
  std::uint64_t seed = 1;
  SimClock::Mode clock_mode = SimClock::Mode::running;
  WallTime start{};
  bool with_wns = true, with_devices = true;  ///< Without the service, channels exist and nobody can push to them from outside.
  std::uint64_t devices = 0;
  std::string prefix = "d", host;
  std::string apps_file;                      ///< JSON list of apps; empty: one legacy app.
  wns::Settings wns;
  mdm::Settings mdm;
};

/// The push service and its devices in one process, on one simulated clock, with the verbs of wns-mdm-push 9.5.
///
/// Threads   The io_context's one thread.
/// Errors    windows.apps and those of the parts.
class Windows {
 public:
  Windows(boost::asio::io_context& io, WindowsSettings settings);
  Result<void> start();
  void stop();
  /// What goes into the line that says everything listens.
  void describe(boost::json::object& ready) const;
  /// POST /windows/do with {"do":verb,…}; GET /windows/….
  boost::asio::awaitable<AdminReply> admin(AdminRequest request);

 private:
  struct Answer {
    Answer() = default;
    unsigned status = 200;
    boost::json::object body{{"ok", true}};
    std::shared_ptr<mdm::SessionRecord> session;  ///< Shown when it is over.
    bool settle = true;
  };
  using Verb = std::function<void(Fields&, Answer&)>;
  void plan_wns_verbs();
  void plan_device_verbs();
  boost::asio::awaitable<AdminReply> carry_out(boost::json::object wish);
  boost::asio::awaitable<AdminReply> advance(boost::json::object wish);
  AdminReply show(const std::string& path, const std::string& query);
  Result<void> read_apps();
  Result<void> write_apps();
  static void refuse(Answer& answer, unsigned status, const char* code, const std::string& text);
  std::shared_ptr<mdm::Device> device_of(Fields& in, Answer& answer);
  wns::Channel* channel_of(Fields& in, Answer& answer);
  void enroll(Fields& in, Answer& answer);
  void set_device(mdm::Device& device, Fields& in, Answer& answer);
  void set_faults(mdm::Device& device, Fields& in, Answer& answer);

  boost::asio::io_context& io_;
  WindowsSettings settings_;
  SimClock clock_;
  Dice dice_;
  wns::Service wns_;
  mdm::Fleet fleet_;
  std::map<std::string, Verb> verbs_;
  std::optional<Authority> authority_;
};

}  // namespace greengate::sim
