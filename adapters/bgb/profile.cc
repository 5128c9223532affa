#include "adapters/bgb/profile.h"

#include "adapters/bgb/profile_reader.h"

#include <boost/json.hpp>

#include <algorithm>
#include <fstream>
#include <iterator>

namespace greengate::adapters::bgb {
namespace {

namespace json = boost::json;

constexpr std::array<std::string_view, kind_count> kind_names{
    "sign_in",  "sign_in_confirm", "keep_alive",         "request",
    "response", "disconnect",      "negotiation_needed", "unknown"};
constexpr std::array<std::string_view, member_count> member_names{
    "client_id", "client_type", "client_version", "message_version", "push_id",
    "task_id",   "task_guid",   "task_type",      "task_param",      "return_code"};
constexpr std::size_t profile_file_bytes_max = 256 * 1024;

// The messages as the 2012 SDK's class names and the published response suggest them (spec 2.2).
// Only `response` is confirmed (D); the rest is reconstructed (I), and each name can be replaced by
// a captured one.
std::array<MessageShape, kind_count> default_shapes() {
  using enum Member;
  std::array<MessageShape, kind_count> shapes;
  const auto at = [&](Kind kind) -> MessageShape& {
    return shapes[static_cast<std::size_t>(kind)];
  };
  at(Kind::sign_in) = {
      "BgbSignInMessage",
      {{client_type, "ClientType"}, {client_version, "ClientVersion"}, {client_id, "ClientID"}}};
  at(Kind::sign_in_confirm) = {"BgbSignInConfirmMessage", {{message_version, "MessageVersion"}}};
  at(Kind::keep_alive) = {"BgbKeepAliveMessage",
                          {{client_type, "ClientType"}, {client_id, "ClientID"}}};
  at(Kind::request) = {"BgbRequestMessage",
                       {{push_id, "PushID"},
                        {task_id, "TaskID"},
                        {task_guid, "TaskGUID"},
                        {task_type, "TaskType"},
                        {task_param, "TaskParam"}}};
  at(Kind::response) = {"BgbResponseMessage",
                        {{push_id, "PushID"}, {task_id, "TaskID"}, {return_code, "ReturnCode"}}};
  at(Kind::disconnect) = {"BgbDisconnectMessage", {}};
  at(Kind::negotiation_needed) = {"BgbNegotiationNeededMessage", {}};
  return shapes;
}

constexpr std::array<std::string_view, Profile::field_count> field_names{
    "payload_size", "major_version", "minor_version", "header_size", "channel"};

std::string widths_text(const std::array<std::uint8_t, Profile::field_count>& widths) {
  std::string text;
  for (const auto width : widths) text += (text.empty() ? "" : ",") + std::to_string(width);
  return text;
}

Profile row(std::string_view name, std::array<std::uint8_t, Profile::field_count> widths) {
  Profile profile;
  profile.name = std::string(name);
  profile.widths = widths;
  profile.shapes = default_shapes();
  profile.guesses = {{"frame.order", "as the SDK declares the fields"},
                     {"frame.widths", widths_text(widths)},
                     {"frame.byte_order", "little"},
                     {"frame.header_size_means", "fixed_part"},
                     {"frame.payload_size_means", "payload"},
                     {"frame.channel_means", "message_type"},
                     {"frame.type_numbers", "declaration order from 0"},
                     {"frame.versions", "1.0"},
                     {"text.encoding", "utf-16le"},
                     {"text.bom", "false"},
                     {"text.nul", "false"},
                     {"text.compression", "none"},
                     {"messages.sign_in", "BgbSignInMessage"},
                     {"messages.sign_in_confirm", "BgbSignInConfirmMessage"},
                     {"messages.keep_alive", "BgbKeepAliveMessage"},
                     {"messages.request", "BgbRequestMessage"},
                     {"codes.failure", "0"}};
  return profile;
}

class Reader : public ProfileReader {
 public:
  Reader(Profile& profile, std::string file) : ProfileReader(profile.guesses, std::move(file)), profile_(profile) {}

  void frame(const json::object& f) {
    if (const auto* order = value(f, "frame", "order")) {
      const json::array* list = order->if_array();
      std::array<bool, Profile::field_count> seen{};
      for (std::size_t i = 0; list && list->size() == Profile::field_count && i < list->size();
           ++i) {
        const json::string* text = (*list)[i].if_string();
        const auto known =
            text ? std::find(field_names.begin(), field_names.end(), std::string_view(*text))
                 : field_names.end();
        if (known == field_names.end()) break;
        const auto field = static_cast<std::size_t>(known - field_names.begin());
        profile_.order[i] = static_cast<Profile::Field>(field);
        seen[field] = true;
      }
      if (std::find(seen.begin(), seen.end(), false) != seen.end())
        complain(
            "frame.order needs payload_size, major_version, minor_version, header_size and "
            "channel, once each.");
    }
    if (const auto* widths = value(f, "frame", "widths")) {
      const json::object* table = widths->if_object();
      for (std::size_t i = 0; i < Profile::field_count; ++i) {
        const json::value* width = table ? table->if_contains(field_names[i]) : nullptr;
        if (!width) complain("frame.widths needs a number of bytes for each of the five fields.");
        profile_.widths[i] = static_cast<std::uint8_t>(number(width, "frame.widths", 0, 4));
        if (profile_.widths[i] == 3) complain("frame.widths can be 0, 1, 2 or 4 bytes each.");
      }
      if (profile_.widths[0] == 0) complain("frame.widths: payload_size cannot have width 0.");
    }
    profile_.little_endian =
        choice(value(f, "frame", "byte_order"), "frame.byte_order", {"little", "big"}) == 0;
    profile_.header_size_means = static_cast<Profile::HeaderSizeMeans>(
        choice(value(f, "frame", "header_size_means"), "frame.header_size_means",
               {"fixed_part", "xml_header"}));
    profile_.payload_size_means = static_cast<Profile::PayloadSizeMeans>(choice(
        value(f, "frame", "payload_size_means"), "frame.payload_size_means", {"payload", "frame"}));
    profile_.channel_means = static_cast<Profile::ChannelMeans>(choice(
        value(f, "frame", "channel_means"), "frame.channel_means", {"message_type", "constant"}));
    if (profile_.channel_means == Profile::ChannelMeans::constant)
      profile_.channel_constant = static_cast<std::uint32_t>(
          number(value(f, "frame", "channel_constant"), "frame.channel_constant", 0, 0xFFFFFFFFu));
    if (const auto* numbers = value(f, "frame", "type_numbers")) {
      const json::object* table = numbers->if_object();
      for (std::size_t i = 0; i < kind_count; ++i) {
        const json::value* one =
            table ? table->if_contains(i + 1 == kind_count ? "none" : kind_names[i]) : nullptr;
        if (!one)
          complain("frame.type_numbers needs a number for each kind of message, and for \"none\".");
        profile_.type_numbers[i] =
            static_cast<std::uint32_t>(number(one, "frame.type_numbers", 0, 0xFFFFFFFFu));
      }
    }
    if (const auto* versions = value(f, "frame", "versions")) {
      const json::array* list = versions->if_array();
      if (!list || list->empty() || list->size() > 16)
        complain("frame.versions needs 1 to 16 pairs [major, minor].");
      profile_.versions.clear();
      for (std::size_t i = 0; list && i < list->size() && i < 16; ++i) {
        const json::array* pair = (*list)[i].if_array();
        if (!pair || pair->size() != 2) {
          complain("frame.versions needs pairs [major, minor].");
          break;
        }
        profile_.versions.push_back(
            {static_cast<std::uint32_t>(number(&(*pair)[0], "frame.versions", 0, 255)),
             static_cast<std::uint32_t>(number(&(*pair)[1], "frame.versions", 0, 255))});
      }
      if (profile_.versions.empty()) profile_.versions.push_back({1, 0});
    }
  }

  // Our own bounds, no facts: they need no basis.
  void limits(const json::object& l) {
    profile_.header_bytes_max = static_cast<std::uint32_t>(
        number(l.if_contains("header_bytes_max"), "limits.header_bytes_max", 32, 64 * 1024));
    profile_.payload_bytes_max = static_cast<std::uint32_t>(number(
        l.if_contains("payload_bytes_max"), "limits.payload_bytes_max", 1024, 16 * 1024 * 1024));
    if (!l.contains("header_bytes_max") || !l.contains("payload_bytes_max"))
      complain("limits needs header_bytes_max and payload_bytes_max.");
  }

  void text(const json::object& t) {
    profile_.encoding = static_cast<Profile::Encoding>(
        choice(value(t, "text", "encoding"), "text.encoding", {"utf-16le", "utf-8"}));
    profile_.write_bom = flag(value(t, "text", "bom"), "text.bom");
    profile_.write_nul = flag(value(t, "text", "nul"), "text.nul");
    profile_.compress_zlib =
        choice(value(t, "text", "compression"), "text.compression", {"none", "zlib"}) == 1;
    profile_.timestamp_name = word(value(t, "text", "timestamp_name"), "text.timestamp_name");
    profile_.client_type = word(value(t, "text", "client_type"), "text.client_type");
  }

  // A message is {"root": …, "members": [["push_id", "PushID"], …], "basis": …}; one left out keeps
  // its default shape.
  void messages(const json::object& m) {
    for (const auto& [key, entry] : m) {
      std::size_t kind = 0;
      while (kind + 1 < kind_count && kind_names[kind] != std::string_view(key)) ++kind;
      const std::string path = "messages." + std::string(key);
      const json::object* shape = entry.if_object();
      const json::value* root = shape ? shape->if_contains("root") : nullptr;
      const json::value* members = shape ? shape->if_contains("members") : nullptr;
      if (kind + 1 == kind_count || !root || !root->is_string() || !members ||
          !members->is_array()) {
        complain(path + " is not a message with \"root\", \"members\" and \"basis\".");
        return;
      }
      MessageShape next{std::string(root->get_string()), {}};
      note(path, *shape, next.root);
      for (const json::value& pair : members->get_array()) {
        const json::array* two = pair.if_array();
        if (!two || two->size() != 2 || !(*two)[0].is_string() || !(*two)[1].is_string()) {
          complain(path + ".members needs pairs [member, element name].");
          return;
        }
        std::size_t member = 0;
        while (member < member_count &&
               member_names[member] != std::string_view((*two)[0].get_string()))
          ++member;
        if (member == member_count) {
          complain(path + ": \"" + std::string((*two)[0].get_string()) +
                   "\" is no member of any message.");
          return;
        }
        next.members.emplace_back(static_cast<Member>(member), std::string((*two)[1].get_string()));
      }
      profile_.shapes[kind] = std::move(next);
    }
  }

  void codes(const json::object& c) {
    profile_.success_code = static_cast<std::int64_t>(
        number(value(c, "codes", "success"), "codes.success", 0, 0x7FFFFFFFu));
    profile_.failure_code = static_cast<std::int64_t>(
        number(value(c, "codes", "failure"), "codes.failure", 0, 0x7FFFFFFFu));
    if (profile_.success_code == profile_.failure_code)
      complain("codes.failure must differ from codes.success.");
  }

 private:
  Profile& profile_;
};

}  // namespace

std::string_view kind_name(Kind kind) {
  return kind_names[static_cast<std::size_t>(kind)];
}

Result<Profile> built_in_profile(std::string_view name) {
  // Spec 2.3: A is aligned without padding; B is five u32; C has u16 versions; A8 and A16 a narrow
  // Channel.
  if (name == "A") return row(name, {4, 1, 1, 2, 4});
  if (name == "B") return row(name, {4, 4, 4, 4, 4});
  if (name == "C") return row(name, {4, 2, 2, 4, 4});
  if (name == "A8") return row(name, {4, 1, 1, 2, 1});
  if (name == "A16") return row(name, {4, 1, 1, 2, 2});
  return fail(Remedy::reject, "bgb.profile",
              "\"" + std::string(name) + "\" is no built-in BGB profile; A, B, C, A8 and A16 are.");
}

Result<Profile> parse_profile(std::string_view text, const std::string& name_in_messages) {
  boost::system::error_code wrong;
  const json::value root = json::parse(json::string_view(text.data(), text.size()), wrong);
  if (wrong || !root.is_object())
    return fail(
        Remedy::reject, "bgb.profile",
        name_in_messages + " is not a JSON object" + (wrong ? ": " + wrong.message() : "") + ".");
  const json::object& file = root.get_object();

  Profile profile;
  profile.shapes = default_shapes();
  Reader reader(profile, name_in_messages);
  const json::value* name = file.if_contains("name");
  if (name && name->is_string())
    profile.name = std::string(name->get_string());
  else
    reader.complain("\"name\" is missing.");
  profile.format =
      static_cast<std::uint32_t>(reader.number(file.if_contains("format"), "format", 1, 1));
  if (!file.if_contains("format"))
    reader.complain("\"format\" is missing; this reader knows format 1.");
  reader.frame(reader.section(file, "frame"));
  reader.limits(reader.section(file, "limits"));
  reader.text(reader.section(file, "text"));
  reader.messages(reader.section(file, "messages"));
  reader.codes(reader.section(file, "codes"));
  // A file from before the HTTP mode, or of a captured TCP frame, leaves the section out.
  if (const json::value* http = file.if_contains("http")) {
    auto section = read_http_profile(*http, name_in_messages);
    if (section)
      profile.http = std::move(*section);
    else
      reader.complain(section.error().message);
  }
  if (!reader.complaint().empty()) return fail(Remedy::reject, "bgb.profile", reader.complaint());
  return profile;
}

Result<Profile> load_profile(const std::string& name_or_file) {
  if (auto row = built_in_profile(name_or_file)) return row;
  std::ifstream file(name_or_file, std::ios::binary);
  if (!file)
    return fail(
        Remedy::reject, "bgb.profile",
        "\"" + name_or_file +
            "\" is neither a built-in BGB profile (A, B, C, A8, A16) nor a file that can be read.");
  std::string text(profile_file_bytes_max + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > profile_file_bytes_max)
    return fail(Remedy::reject, "bgb.profile",
                name_or_file + " is larger than 256 KiB; that is no profile.");
  return parse_profile(text, name_or_file);
}

}  // namespace greengate::adapters::bgb
