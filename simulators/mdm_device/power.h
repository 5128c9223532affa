#pragma once

namespace greengate::sim::mdm {

/// What decides whether a push gets through to a device (9.4, S-29).
struct Power {
  bool on = true;        ///< Switched on and past its start.
  bool network = true;   ///< Any network at all.
  bool service_reachable = true;  ///< The push service.
  bool server_reachable = true;   ///< The DM server.
  bool battery_saver = false, metered_limit = false;
  bool exempt = false;   ///< The user lets this app work in battery saver.
  bool mains = true, screen_on = true;

  /// Battery saver and metered limits close the device's connection to the push service (7.9).
  bool socket_open() const { return on && network && service_reachable && !metered_limit && (!battery_saver || exempt); }
  /// Does a delivered push act now? Otherwise it is held until screen, mains or saver change.
  bool acts_now(int priority) const {
    if (battery_saver) return exempt && priority < 4;
    if (mains || screen_on) return true;
    return priority == 1;
  }
  bool session_possible() const { return on && network && server_reachable; }
};

}  // namespace greengate::sim::mdm
