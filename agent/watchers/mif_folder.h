#pragma once

#include "agent/watchers/notebook.h"
#include "core/result.h"

#include <cstdint>
#include <map>
#include <string>

namespace greengate::agent {

struct MifFolderConfig {
  std::string folder = "/var/lib/greengate-agent/mif";  ///< mif.folder; empty: none is watched
  std::int64_t bytes_max = 250 << 10;                   ///< mif.bytes_max
  bool header_required = true;                          ///< mif.header_required
  std::chrono::milliseconds interval{60'000};           ///< mif.interval
  std::uint32_t topic_type = 1300;                      ///< state_messages.mif_topic_type
  std::uint32_t failed_state_id = 2;                    ///< state_messages.mif_failed_state_id
  std::chrono::milliseconds settled{10'000};  ///< A file is read when it has not changed for so long.
};

/// Sends the *.mif files of a folder, each content once.
///
/// Promise   A good file stays where it is and is sent again only when its content changes. A bad one is told to the site once and
///           moved to the folder's `bad/`, with the reason beside it; where that cannot be, it stays and is not looked at again
///           before it changes. Report and memory of it are kept together.
/// Limits    256 files; mif.bytes_max each; 20 bad files told of an hour. Links and devices are not followed.
/// Threads   One.
/// Source    docs/reference/idmif.md
class MifFolder final : public Watcher {
 public:
  MifFolder(MifFolderConfig config, Notebook& notebook, const Clock& clock);

  SteadyTime next_due() const override { return due_; }
  void tick() override;

 private:
  struct Seen {
    std::int64_t bytes = 0, modified_ns = 0;
    SteadyTime since{};
  };
  enum class Known { nothing, sent, bad };
  struct Memory {
    Known known = Known::nothing;
    std::int64_t bytes = 0, modified_ns = 0;
    std::uint64_t sum = 0;
  };
  void remember_from_note();
  Notes notes() const;
  /// False when the notebook did not keep it.
  bool take(const std::string& name, const Seen& facts);
  bool refuse(const std::string& name, const Memory& memory, const Error& why);

  MifFolderConfig config_;
  Notebook& notebook_;
  const Clock& clock_;
  std::map<std::string, Seen> seen_;
  std::map<std::string, Memory> memory_;
  HourlyBudget budget_;
  SteadyTime due_;
  bool begun_ = false, told_too_many_ = false;
};

}  // namespace greengate::agent
