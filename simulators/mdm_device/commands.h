#pragma once

#include "simulators/mdm_device/device.h"

#include <string>

namespace greengate::sim::mdm {

/// Carries out the commands of a server's message and writes what the client answers: Status and Results, command by command (12.2, S-27).
class Commands {
 public:
  Commands(Device& device, SessionRecord& record, MessageWriter& out, std::string msg_ref)
      : device_(device), record_(record), out_(out), msg_ref_(std::move(msg_ref)) {}

  void carry_out(const SyncCommand& command);
  int done() const { return done_; }

 private:
  int one(const SyncCommand& command, bool in_atomic);
  int item(const SyncCommand& command, const SyncItem& item, std::vector<MessageWriter::Found>& found);
  void atomic(const SyncCommand& command);
  void sequence(const SyncCommand& command);

  Device& device_;
  SessionRecord& record_;
  MessageWriter& out_;
  const std::string msg_ref_;
  int done_ = 0;
};

}  // namespace greengate::sim::mdm
