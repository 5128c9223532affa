#include "workers/translator.h"

#include "adapters/mp/discovery.h"
#include "adapters/mp/file_collection.h"
#include "adapters/mp/idmif.h"
#include "adapters/mp/metering.h"
#include "adapters/mp/state_messages.h"
#include "adapters/mp/status_message.h"
#include "workers/file_assembly.h"

#include "greengate/v1/frame.pb.h"
#include "greengate/v1/report.pb.h"

#include <google/protobuf/arena.h>

namespace greengate::workers {
namespace {

// Older than any inventory policy a site is likely to have changed last (mp-protocol 5.1, "a date safely in the past").
constexpr std::chrono::hours inventory_policy_age{24 * 365};

tl::unexpected<Error> malformed(const char* kind) {
  return fail(Remedy::reject, "report.malformed", std::string("the report's body is not a ") + kind + " message.");
}

tl::unexpected<Error> unknown(std::uint32_t kind) {
  return fail(Remedy::reject, "report.kind_unknown", "reports of kind " + std::to_string(kind) + " are not known here.");
}

// Parses every report of a state group into the arena and points at its messages, in order.
Result<std::vector<const v1::StateMessage*>> state_messages_of(const Group& group, google::protobuf::Arena& arena) {
  std::vector<const v1::StateMessage*> messages;
  for (const store::LeasedReport* report : group.reports) {
    auto* parsed = google::protobuf::Arena::CreateMessage<v1::StateMessages>(&arena);
    if (!parsed->ParseFromString(report->body)) return malformed("StateMessages");
    for (const v1::StateMessage& message : parsed->messages()) messages.push_back(&message);
  }
  if (messages.empty()) return fail(Remedy::reject, "report.empty", "the report holds no state message.");
  return messages;
}

// Chunk by chunk straight into the message, so that the file lies in memory once beside what the lease holds.
Result<adapters::OutgoingMessage> collected_file(const adapters::MpSettings& settings, const adapters::MpIdentity& identity,
                                                 const adapters::ReportFacts& facts, const Group& group) {
  adapters::FileCollectionWriter writer(settings, identity, facts);
  Sha256 hash;
  v1::FileChunk chunk;
  for (const store::LeasedReport* report : group.reports) {
    if (!chunk.ParseFromString(report->body)) return malformed("FileChunk");
    if (report == group.reports.front()) {
      if (auto begun = writer.begin({chunk.name(), chunk.path(), chunk.size(), chunk.modified_ms()}); !begun) return pass(begun);
    }
    if (auto written = writer.data(chunk.data()); !written) return pass(written);
    hash.add(chunk.data());
  }
  if (hash.digest() != chunk.sha256()) {
    return fail(Remedy::reject, "files.hash", "the file's chunks do not add up to the hash that was announced.");
  }
  return writer.finish();
}

// Kinds whose reports bear a version of their own that only ever rises, and the counter it comes from.
const char* rising_version_of(std::uint32_t kind) {
  switch (kind) {
    case v1::KIND_FILE_CHUNK: return "files_major";
    case v1::KIND_METERING: return "metering_major";
    case v1::KIND_IDMIF: return "idmif_major";
    default: return nullptr;
  }
}

}  // namespace

adapters::ReportFacts report_facts(const DeliveryNote& note) {
  adapters::ReportFacts facts;
  facts.message_id = note.message_id;
  facts.made_at = note.made_at;
  // Where policy is not known, a date safely past: a later one than the site's would hold the report back (mp-protocol 5.1).
  facts.inventory_policy_date = note.policy_date.value_or(note.made_at - inventory_policy_age);
  facts.version_major = note.version_major;
  facts.version_minor = note.version_minor;
  return facts;
}

Result<Numbering> Translator::number(const Group& group, WallTime now,
                                     const std::function<std::uint64_t(const std::string&)>& counter) const {
  Numbering numbering;
  numbering.note.message_id = adapters::new_message_id();
  numbering.note.made_at = now;
  switch (group.kind) {
    case v1::KIND_DISCOVERY: {
      const std::uint64_t major = counter("discovery_major") + 1;
      numbering.note.version_major = static_cast<std::uint32_t>(major);
      numbering.counters = {{"discovery_major", major}};
      return numbering;
    }
    case v1::KIND_STATE_MESSAGES: {
      google::protobuf::Arena arena;
      auto messages = state_messages_of(group, arena);
      if (!messages) return pass(messages);
      const std::uint64_t last = counter("state_serial");
      numbering.note.first_serial = last + 1;
      numbering.counters = {{"state_serial", last + messages->size()}};
      return numbering;
    }
    case v1::KIND_STATUS: return numbering;  // bears no number
    case v1::KIND_FILE_CHUNK:
    case v1::KIND_METERING:
    case v1::KIND_IDMIF: {
      const std::string name = rising_version_of(group.kind);
      const std::uint64_t major = counter(name) + 1;
      numbering.note.version_major = static_cast<std::uint32_t>(major);
      numbering.counters = {{name, major}};
      return numbering;
    }
    default: return unknown(group.kind);
  }
}

Result<adapters::OutgoingMessage> Translator::translate(const adapters::MpIdentity& identity, const Group& group,
                                                        const DeliveryNote& note) const {
  const adapters::ReportFacts facts = report_facts(note);
  google::protobuf::Arena arena;
  switch (group.kind) {
    case v1::KIND_DISCOVERY: {
      auto* discovery = google::protobuf::Arena::CreateMessage<v1::Discovery>(&arena);
      if (!discovery->ParseFromString(group.reports.back()->body)) return malformed("Discovery");
      return adapters::discovery_message(settings_, identity, facts, *discovery);
    }
    case v1::KIND_STATE_MESSAGES: {
      auto messages = state_messages_of(group, arena);
      if (!messages) return pass(messages);
      return adapters::state_message(settings_, identity, facts, *messages, note.first_serial);
    }
    case v1::KIND_FILE_CHUNK: return collected_file(settings_, identity, facts, group);
    case v1::KIND_STATUS: {
      auto* event = google::protobuf::Arena::CreateMessage<v1::StatusMessage>(&arena);
      if (!event->ParseFromString(group.reports.back()->body)) return malformed("StatusMessage");
      return adapters::status_message(settings_, identity, facts, *event);
    }
    case v1::KIND_METERING: {
      auto* data = google::protobuf::Arena::CreateMessage<v1::MeteringData>(&arena);
      if (!data->ParseFromString(group.reports.back()->body)) return malformed("MeteringData");
      return adapters::metering_message(settings_, identity, facts, *data);
    }
    case v1::KIND_IDMIF: {
      auto* file = google::protobuf::Arena::CreateMessage<v1::IdMif>(&arena);
      if (!file->ParseFromString(group.reports.back()->body)) return malformed("IdMif");
      return adapters::idmif_message(settings_, identity, facts, *file);
    }
    default: return unknown(group.kind);
  }
}

}  // namespace greengate::workers
