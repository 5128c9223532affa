#include "adapters/mp/policy_body.h"

#include "adapters/mp/compression.h"
#include "adapters/mp/document.h"
#include "adapters/mp/reply_xml.h"
#include "adapters/mp/wire_time.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <map>

namespace greengate::adapters {
namespace {

constexpr std::size_t elements_max = 100'000;
constexpr std::size_t instances_max = 4'096;
constexpr std::size_t texts_per_property_max = 1'024;
constexpr std::size_t text_bytes_max = 4'096;

tl::unexpected<Error> refuse(const char* code, const char* why) {
  return fail(Remedy::reject, code, std::string("The policy body ") + why + ".");
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

bool is_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isxdigit(c) != 0; });
}

std::string bytes_of_hex(std::string_view hex) {
  std::string out;
  out.reserve(hex.size() / 2);
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    unsigned value = 0;
    std::from_chars(hex.data() + i, hex.data() + i + 2, value, 16);
    out.push_back(static_cast<char>(value));
  }
  return out;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

bool digest_is(const EVP_MD* kind, std::string_view body, std::string_view hex) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (EVP_Digest(body.data(), body.size(), digest.data(), &size, kind, nullptr) != 1) return false;
  return hex.size() == 2 * size && is_hex(hex) &&
         bytes_of_hex(hex) == std::string_view(reinterpret_cast<const char*>(digest.data()), size);
}

HashCheck by_digest(const EVP_MD* kind, std::string_view body, std::string_view hex) {
  return digest_is(kind, body, hex) ? HashCheck::matches : HashCheck::differs;
}

/// Which of the site's well-known actions or messages this id is.
PolicyArea area_of_id(std::string_view id) {
  const std::string text = lower(trimmed(id));
  if (text == "{00000000-0000-0000-0000-000000000001}") return PolicyArea::hardware;
  if (text == "{00000000-0000-0000-0000-000000000002}") return PolicyArea::software;
  if (text == "{00000000-0000-0000-0000-000000000003}") return PolicyArea::discovery;
  return PolicyArea::other;
}

/// The texts of one instance's properties by lower-case name, whatever form they have.
using Properties = std::map<std::string, std::vector<std::string>>;

void add_text(std::vector<std::string>& to, std::string_view text) {
  text = trimmed(text);
  if (!text.empty() && text.size() <= text_bytes_max && to.size() < texts_per_property_max) to.emplace_back(text);
}

/// Its own text, or those of the elements below it: <value>…</value>, once or as an array, perhaps in an array's element.
void add_texts(std::vector<std::string>& to, const pugi::xml_node& node) {
  bool elements = false;
  for (const pugi::xml_node child : node.children()) {
    if (child.type() != pugi::node_element) continue;
    elements = true;
    bool nested = false;
    for (const pugi::xml_node grandchild : child.children()) {
      if (grandchild.type() != pugi::node_element) continue;
      nested = true;
      add_text(to, grandchild.text().get());
    }
    if (!nested) add_text(to, child.text().get());
  }
  if (elements) return;
  add_text(to, node.text().get());
  for (const pugi::xml_attribute attribute : node.attributes())
    if (lower(attribute.name()) == "value") add_text(to, attribute.value());
}

Properties properties_of(const pugi::xml_node& instance) {
  Properties found;
  for (const pugi::xml_attribute attribute : instance.attributes()) add_text(found[lower(attribute.name())], attribute.value());
  for (const pugi::xml_node child : instance.children()) {
    if (child.type() != pugi::node_element) continue;
    std::string name = lower(child.name());
    if (name.starts_with("property"))
      for (const pugi::xml_attribute attribute : child.attributes())
        if (lower(attribute.name()) == "name") name = lower(attribute.value());
    add_texts(found[name], child);
  }
  return found;
}

std::string first(const Properties& properties, std::string_view name) {
  const auto found = properties.find(std::string(name));
  return found == properties.end() || found->second.empty() ? std::string() : found->second.front();
}

/// The class of an element that looks like an instance: <instance class="C">, or an element named as one we know.
std::string class_of(const pugi::xml_node& node) {
  std::string name = lower(node.name());
  if (name == "instance")
    for (const pugi::xml_attribute attribute : node.attributes()) {
      const std::string key = lower(attribute.name());
      if (key == "class" || key == "classname") return lower(attribute.value());
    }
  return name;
}

std::vector<std::string> names_in(const Properties& properties) {
  std::vector<std::string> names;
  const auto found = properties.find("properties");
  if (found == properties.end()) return names;
  for (std::string_view rest : found->second) {
    while (!rest.empty()) {
      const auto end = rest.find_first_of(",;");
      const std::string_view name = trimmed(rest.substr(0, end));
      if (!name.empty() && names.size() < texts_per_property_max) names.push_back(lower(name));
      rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    }
  }
  return names;
}

/// "\\.\root\cimv2" or "//./root/cimv2" as "root\cimv2".
std::string name_space_of(std::string_view text) {
  std::string path = lower(text);
  std::replace(path.begin(), path.end(), '/', '\\');
  if (path.starts_with("\\\\")) {
    const auto behind = path.find('\\', 2);
    path = behind == std::string::npos ? std::string() : path.substr(behind + 1);
  }
  while (path.starts_with("\\")) path.erase(0, 1);
  return path;
}

void read_instance(const pugi::xml_node& node, std::string_view class_name, PolicyBody& body) {
  if (class_name == "inventoryaction") {
    const Properties said = properties_of(node);
    InventoryAction action;
    action.id = first(said, "inventoryactionid");
    action.area = area_of_id(action.id);
    action.report_type = first(said, "reporttype");
    std::string updated = first(said, "inventoryactionlastupdatetime");
    if (updated.empty()) updated = first(said, "lastupdatetime");
    action.last_update = read_datetime(updated);
    if (!action.id.empty()) body.actions.push_back(std::move(action));
  } else if (class_name == "inventorydataitem") {
    const Properties said = properties_of(node);
    InventoryItem item;
    item.area = area_of_id(first(said, "inventoryactionid"));
    item.class_name = first(said, "itemclass");
    item.name_space = name_space_of(first(said, "namespace"));
    item.properties = names_in(said);
    if (!item.class_name.empty()) body.items.push_back(std::move(item));
  } else if (class_name == "ccm_scheduler_scheduledmessage") {
    const Properties said = properties_of(node);
    const PolicyArea area = area_of_id(first(said, "scheduledmessageid"));
    const auto triggers = said.find("triggers");
    if (area == PolicyArea::other || triggers == said.end()) return;
    for (const std::string& trigger : triggers->second)
      if (const auto every = trigger_interval(trigger)) {
        body.schedules.push_back({area, *every});
        break;
      }
  }
}

bool is_condition_with_text(const pugi::xml_node& node) {
  return std::string_view(node.name()) == "Expression" && !trimmed(node.text().get()).empty();
}

/// Every element once, without recursion: no input can exhaust the stack.
Result<PolicyBody> read_tree(const pugi::xml_document& document) {
  PolicyBody body;
  pugi::xml_node node = document.document_element();
  std::size_t instances = 0;
  while (node) {
    if (node.type() == pugi::node_element) {
      body.conditional = body.conditional || is_condition_with_text(node);
      const std::string name = class_of(node);
      if (name == "inventoryaction" || name == "inventorydataitem" || name == "ccm_scheduler_scheduledmessage") {
        if (++instances > instances_max) return refuse("mp.policy_body", "has too many instances");
        read_instance(node, name, body);
      }
    }
    if (node.first_child()) {
      node = node.first_child();
      continue;
    }
    while (node && !node.next_sibling()) node = node.parent();
    if (node) node = node.next_sibling();
  }
  return body;
}

/// The text of flag 64: hex of a zlib stream of UTF-16 XML below the root (S 5.3).
Result<std::string> unpacked(const MpSettings& settings, const pugi::xml_document& document) {
  const std::string_view text = trimmed(document.document_element().text().get());
  std::string hex;
  hex.reserve(text.size());
  for (const char c : text)
    if (!std::isspace(static_cast<unsigned char>(c))) hex.push_back(c);
  if (hex.empty() || hex.size() % 2 != 0 || !is_hex(hex)) return refuse("mp.policy_body", "is flagged compressed and holds no hex");
  auto plain = inflate_zlib(bytes_of_hex(hex), settings.policy_body_bytes_max);
  if (!plain) return pass(plain);
  return document_text(*plain);
}

Result<void> parse(const MpSettings& settings, std::string_view text, pugi::xml_document& document) {
  // A tree costs many times its text when the elements are small, so they are counted before it is built.
  const auto marks = std::count(text.begin(), text.end(), '<') + std::count(text.begin(), text.end(), '=');
  if (static_cast<std::size_t>(marks) > 2 * elements_max) return refuse("mp.policy_too_large", "has too many elements");
  return parse_reply_xml(settings, text, document);
}

}  // namespace

bool InventoryAction::wants_everything_again() const { return lower(report_type) == "resync"; }

std::size_t PolicyBody::bytes() const {
  std::size_t sum = sizeof *this;
  for (const InventoryAction& action : actions) sum += sizeof action + action.id.size() + action.report_type.size();
  for (const InventoryItem& item : items) {
    sum += sizeof item + item.class_name.size() + item.name_space.size();
    for (const std::string& name : item.properties) sum += sizeof name + name.size();
  }
  return sum + schedules.size() * sizeof(PolicySchedule);
}

HashCheck check_policy_hash(const PolicyAssignment& assignment, std::string_view body) {
  std::string_view hash = trimmed(assignment.hash_ex);
  if (!hash.empty()) {
    const auto colon = hash.find(':');
    const std::string kind = colon == std::string_view::npos ? "" : lower(hash.substr(0, colon));
    if (colon != std::string_view::npos) hash.remove_prefix(colon + 1);
    if (kind == "sha256" || (kind.empty() && hash.size() == 64)) return by_digest(EVP_sha256(), body, hash);
    if (kind == "sha1" || kind == "sha" || (kind.empty() && hash.size() == 40)) return by_digest(EVP_sha1(), body, hash);
    return HashCheck::differs;
  }
  hash = trimmed(assignment.hash);
  if (!hash.empty()) {
    if (lower(hash.substr(0, 4)) == "md5:") hash.remove_prefix(4);
    return by_digest(EVP_md5(), body, hash);
  }
  const std::string where = lower(assignment.location);
  if (const auto named = where.rfind(".sha256:"); named != std::string::npos)
    return by_digest(EVP_sha256(), body, std::string_view(where).substr(named + 8));
  return HashCheck::unverified;
}

Result<PolicyBody> read_policy_body(const MpSettings& settings, const PolicyAssignment& assignment, std::string_view body) {
  if (body.size() > settings.policy_body_bytes_max) return refuse("mp.policy_too_large", "is longer than its limit");
  // DER: a SEQUENCE with a long length. Its key would be the client's own, yet protected bodies are none of our business.
  if (body.size() > 2 && body[0] == '\x30' && (body[1] & '\x80') != 0) return refuse("mp.policy_encrypted", "is encrypted");
  std::string text = document_text(body);
  const std::string start = lower(trimmed(std::string_view(text).substr(0, 256)));
  if (start.starts_with("<html") || start.starts_with("<!doctype html")) return refuse("mp.policy_page", "is an HTML page");
  pugi::xml_document document;
  if (auto parsed = parse(settings, text, document); !parsed) return pass(parsed);
  if (assignment.is_compressed()) {
    auto inner = unpacked(settings, document);
    if (!inner) return pass(inner);
    text = std::move(*inner);
    document.reset();
    if (auto parsed = parse(settings, text, document); !parsed) return pass(parsed);
  }
  return read_tree(document);
}

std::optional<std::chrono::minutes> trigger_interval(std::string_view trigger) {
  using std::chrono::days;
  using std::chrono::hours;
  using std::chrono::minutes;
  constexpr minutes longest = days(366);
  bool simple = false;
  for (std::string_view rest = trigger; !rest.empty();) {
    const auto end = rest.find(';');
    std::string_view part = trimmed(rest.substr(0, end));
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    simple = simple || lower(part) == "simpleinterval";
    if (simple && lower(part).starts_with("minutes=")) {
      part.remove_prefix(8);
      std::uint32_t count = 0;
      const auto [stop, error] = std::from_chars(part.data(), part.data() + part.size(), count);
      if (error != std::errc() || stop != part.data() + part.size() || count == 0 || minutes(count) > longest) return std::nullopt;
      return minutes(count);
    }
    if (const auto equals = part.find('='); equals != std::string_view::npos) part.remove_prefix(equals + 1);
    if (part.size() < 16 || part.size() % 16 != 0 || !is_hex(part)) continue;
    // Several tokens may follow each other; the first one counts.
    std::uint32_t word = 0;
    std::from_chars(part.data() + 8, part.data() + 16, word, 16);
    minutes every{};
    switch ((word >> 19) & 7u) {
      case 2: every = minutes((word >> 13) & 63u) + hours((word >> 8) & 31u) + days((word >> 3) & 31u); break;
      case 3: every = days(7) * ((word >> 13) & 7u); break;
      case 4: every = days(30) * ((word >> 12) & 15u); break;
      case 5: every = days(30) * ((word >> 10) & 15u); break;
      default: break;
    }
    if (every > minutes(0) && every <= longest) return every;
  }
  return std::nullopt;
}

}  // namespace greengate::adapters
