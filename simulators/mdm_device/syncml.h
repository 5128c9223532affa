#pragma once

#include "core/result.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::sim::mdm {

struct SyncItem {
  std::string target, source, format, type, data;
};

/// Any element of a SyncBody. Which members count depends on the verb.
struct SyncCommand {
  std::string verb;     ///< Status, Results, Alert, Add, Replace, Delete, Get, Exec, Atomic, Sequence, or what a server made up.
  std::string cmd_id;   ///< Empty when it was missing.
  std::vector<SyncItem> items;
  std::vector<SyncCommand> members;                 ///< Of Atomic and Sequence.
  std::string msg_ref, cmd_ref, cmd, data;          ///< Of Status and Alert.
  std::string chal_type, chal_format, next_nonce;   ///< Of a Status with Chal.
};

struct SyncMessage {
  std::string ver_dtd, ver_proto, session_id, msg_id, target, source;
  std::optional<std::size_t> max_msg_size;
  std::vector<SyncCommand> commands;
  bool final = false;
  std::vector<std::string> breaches;  ///< Of the form, in sentences: a real client would stumble or be lucky.
};

/// Errors: syncml.not_xml, syncml.not_syncml, syncml.header (reject), with xml.* in the text.
Result<SyncMessage> read_message(std::string_view xml);

/// Writes a client's message, command by command, numbering them.
class MessageWriter {
 public:
  struct Header {
    std::string session_id, target, source, loc_name, credential;  ///< credential: base64 of auth-md5, or empty
    int msg_id = 1;
  };
  explicit MessageWriter(const Header& header, int first_cmd_id = 1);
  /// Each returns its CmdID.
  int alert(const std::string& code);
  int alert(const std::string& code, const std::string& type, const std::string& data, const std::string& format = {},
            const std::string& mark = {});
  int dev_info(const std::vector<std::pair<std::string, std::string>>& nodes);
  int status(const std::string& msg_ref, const std::string& cmd_ref, const std::string& cmd, int code, const std::string& target_ref = {});
  struct Found {
    std::string uri, format, data;  ///< chr needs no format
  };
  int results(const std::string& msg_ref, const std::string& cmd_ref, const std::vector<Found>& found);
  std::string finish(bool with_final = true);

 private:
  std::string open(const char* verb);
  std::string text_;
  int next_;
};

/// B64(MD5(B64(MD5(user:password)):nonce)) (13).
std::string md5_credential(const std::string& user, const std::string& password, std::string_view nonce);

}  // namespace greengate::sim::mdm
