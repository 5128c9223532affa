#pragma once

#include "simulators/notification_server/finding.h"
#include "simulators/notification_server/frame.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace greengate::sim::notify {

/// One element; the tree is flat, a child names its parent by index.
struct Element {
  std::string name;
  std::vector<std::pair<std::string, std::string>> attributes;
  std::string text;
  std::size_t parent = 0;
  std::size_t depth = 1;
};

/// A message's XML, the root first.
struct Document {
  std::vector<Element> elements;
  Findings findings;  ///< A fatal one leaves the elements unusable.
};

/// Reads the little XML that the channel knows: no declaration, no DTD, no entities but the five,
/// no comments, no namespaces, no white space between elements. Limits: depth 8, 64 members, values
/// of 256 KiB (8.2 rule 2).
Document parse_xml(std::string_view utf8);

/// What a client may say, after the checks.
struct ClientMessage {
  Kind kind = Kind::unknown;
  std::int64_t unix_seconds = 0;
  std::string client_id;
  std::string client_version;
  std::uint64_t push_id = 0;
  std::uint64_t task_id = 0;
  std::int64_t return_code = 0;
};

struct SchemaRules {
  std::string client_type = "SCCM";
  bool allow_unknown_members = false;
  bool check_smsid_form = true;
  std::int64_t now_unix_seconds = 0;
  std::int64_t skew_warn_seconds = 0;  ///< 0 looks at no skew.
};

/// The kind a root element stands for; unknown when none.
Kind kind_of_root(std::string_view root);

/// Names, order, attribute and value forms of a SignIn, KeepAlive or Response (2.2, the samples).
ClientMessage check_message(const Document& document, const SchemaRules& rules, Findings& findings);

/// "GUID:" and an upper-case hyphenated GUID.
bool is_sms_id(std::string_view text);

// What the server says. TimeStamps are UTC, whole seconds.
std::string timestamp(std::int64_t unix_seconds);
std::string confirm_xml(std::int64_t unix_seconds, std::string_view message_version);
struct RequestFields {
  std::uint64_t push_id = 0;
  std::uint64_t task_id = 0;
  std::string task_guid;
  std::uint32_t task_type = 1;
  std::string task_param;
  std::vector<std::string> leave_out;  ///< A fault: member names not written.
  std::string extra;                   ///< A fault: XML written after the last member.
};
std::string request_xml(std::int64_t unix_seconds, const RequestFields& fields);

}  // namespace greengate::sim::notify
