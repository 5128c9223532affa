#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

namespace greengate {

/// A value that cannot be mistaken for its neighbour. No implicit way in or out.
template <class Tag, class Raw>
class StrongId {
 public:
  StrongId() = default;
  explicit StrongId(Raw raw) : raw_(std::move(raw)) {}
  const Raw& raw() const noexcept { return raw_; }
  friend auto operator<=>(const StrongId&, const StrongId&) = default;

 private:
  Raw raw_{};
};

using AgentId = StrongId<struct AgentIdTag, std::string>;         ///< Sixteen lower-case hex digits, given at enrolment, kept for life.
using AgentKey = StrongId<struct AgentKeyTag, std::string>;       ///< An agent's CURVE public key, Z85, 40 characters.
using SmsId = StrongId<struct SmsIdTag, std::string>;             ///< As the site knows the client: "GUID:" and an upper-case GUID.
using LeaseId = StrongId<struct LeaseIdTag, std::uint64_t>;       ///< One worker's hold on one device's reports.
using ItemId = StrongId<struct ItemIdTag, std::uint64_t>;         ///< A kept report's place in the store; grows, never reused.

}  // namespace greengate

template <class Tag, class Raw>
struct std::hash<greengate::StrongId<Tag, Raw>> {
  std::size_t operator()(const greengate::StrongId<Tag, Raw>& id) const noexcept {
    return std::hash<Raw>{}(id.raw());
  }
};
