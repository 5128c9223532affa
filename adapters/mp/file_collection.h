#pragma once

#include "adapters/mp/message.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace greengate::adapters {

/// What a collected file says of itself.
struct CollectedFile {
  std::string_view name;  ///< "agent.conf"
  std::string_view path;  ///< Its folder, with a slash at the end
  std::uint64_t size = 0;
  std::int64_t modified_ms = 0;
};

/// Writes one collected file: a Post to MP_SinvCollFileEndpoint, the report in the body, the file as its attachment.
///
/// Promise   The file's bytes go straight into the stream that is compressed; they are never held a second time. What the agent calls
///           the file cannot become a path at the site (file_names.h), unless `file_attachment_name` asks for the path.
/// Order     begin(), then data() in the file's order, then finish(), once.
/// Limits    MpSettings::message_bytes_max for report and file together, checked in begin() before room is made.
/// Threads   One.
/// Errors    mp.file_name, mp.file_size (more or fewer bytes than were announced), mp.message_too_large (all reject).
/// Source    mp-protocol 5.8, 2.2; readings 17 (CollectedFileSum counts files).
class FileCollectionWriter {
 public:
  /// The references outlive this.
  FileCollectionWriter(const MpSettings& settings, const MpIdentity& identity, const ReportFacts& facts)
      : settings_(settings), identity_(identity), facts_(facts) {}

  Result<void> begin(const CollectedFile& file);
  Result<void> data(std::string_view bytes);
  Result<OutgoingMessage> finish();

 private:
  const MpSettings& settings_;
  const MpIdentity& identity_;
  const ReportFacts& facts_;
  Draft draft_;
  std::size_t file_begins_ = 0;  ///< In the draft's stream.
  std::uint64_t size_ = 0;       ///< As announced.
};

}  // namespace greengate::adapters
