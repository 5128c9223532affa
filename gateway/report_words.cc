#include "gateway/report_words.h"

#include "greengate/v1/frame.pb.h"
#include "greengate/v1/report.pb.h"

#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <iterator>
#include <memory>

namespace greengate::gateway {
namespace {

struct Kind {
  std::uint32_t number;
  const char* name;
  std::unique_ptr<google::protobuf::Message> (*make)();
};

template <class Message>
std::unique_ptr<google::protobuf::Message> make() {
  return std::make_unique<Message>();
}

constexpr Kind kinds[] = {
    {v1::KIND_DISCOVERY, "discovery", make<v1::Discovery>},
    {v1::KIND_HARDWARE_INVENTORY, "hardware inventory", make<v1::HardwareInventory>},
    {v1::KIND_STATE_MESSAGES, "state messages", make<v1::StateMessages>},
    {v1::KIND_SOFTWARE_INVENTORY, "software inventory", make<v1::SoftwareInventory>},
    {v1::KIND_FILE_CHUNK, "collected file", make<v1::FileChunk>},
    {v1::KIND_STATUS, "status", make<v1::StatusMessage>},
    {v1::KIND_METERING, "metering", make<v1::MeteringData>},
    {v1::KIND_IDMIF, "IDMIF file", make<v1::IdMif>},
    {v1::KIND_RESYNC, "resync", make<v1::ResyncRequest>},
};

const Kind* find_kind(std::uint32_t number) {
  const auto* found = std::find_if(std::begin(kinds), std::end(kinds), [&](const Kind& kind) { return kind.number == number; });
  return found == std::end(kinds) ? nullptr : found;
}

}  // namespace

const char* name_of(store::DeviceState state) {
  switch (state) {
    case store::DeviceState::pending: return "pending";
    case store::DeviceState::active: return "active";
    case store::DeviceState::revoked: return "revoked";
  }
  return "unknown";
}

const char* name_of(store::IdentityState state) {
  switch (state) {
    case store::IdentityState::none: return "not registered";
    case store::IdentityState::pending: return "pending";
    case store::IdentityState::ready: return "ready";
    case store::IdentityState::rejected: return "rejected";
  }
  return "unknown";
}

const char* name_of(const store::ReportTrace& trace) {
  if (!trace.outcome) return trace.leased ? "leased" : "waiting";
  switch (*trace.outcome) {
    case store::Outcome::delivered: return "delivered";
    case store::Outcome::superseded: return "superseded";
    case store::Outcome::expired: return "expired";
    case store::Outcome::buried: return "buried";
  }
  return "unknown";
}

const char* name_of(store::Lane lane) {
  switch (lane) {
    case store::Lane::control: return "control";
    case store::Lane::state: return "state";
    case store::Lane::discovery: return "discovery";
    case store::Lane::inventory: return "inventory";
    case store::Lane::files: return "files";
  }
  return "unknown";
}

std::string kind_name(std::uint32_t number) {
  const Kind* kind = find_kind(number);
  return kind ? kind->name : "kind " + std::to_string(number);
}

std::optional<std::uint32_t> kind_of(std::string_view name) {
  std::string plain(name);
  std::replace_if(plain.begin(), plain.end(), [](char c) { return c == '-' || c == '_'; }, ' ');
  for (const Kind& kind : kinds) {
    if (plain == kind.name) return kind.number;
  }
  return std::nullopt;
}

std::string body_text(std::uint32_t number, const std::string& body, std::size_t bytes_max) {
  const Kind* kind = find_kind(number);
  if (!kind) return "(reports of " + kind_name(number) + " are not known here)\n";
  const auto message = kind->make();
  if (!message->ParseFromString(body)) return "(its " + std::to_string(body.size()) + " bytes are not a " + kind->name + " report)\n";
  // Printed into a bounded buffer: text can be many times the size of the wire form.
  std::string text(bytes_max, '\0');
  google::protobuf::io::ArrayOutputStream stream(text.data(), static_cast<int>(text.size()));
  const bool whole = google::protobuf::TextFormat::Print(*message, &stream);
  text.resize(static_cast<std::size_t>(stream.ByteCount()));
  if (!whole) text += "\n… (cut)\n";
  return text;
}

}  // namespace greengate::gateway
