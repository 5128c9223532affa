#pragma once

#include "core/clock.h"
#include "core/ids.h"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>

namespace greengate::adapters {

/// One push from the notification server: what to poke an agent for. The adapter passes every TaskType on; whether it is known is
/// the receiver's judgement.
struct BgbPush {
  std::uint64_t push_id = 0;
  std::uint64_t task_id = 0;
  std::string task_guid;        ///< May be empty; upper case without braces when the server sends it.
  std::uint32_t task_type = 0;  ///< 1 machine policy, 2 full scan, 3 quick scan, 15 script (D); others unknown.
  std::string task_param;       ///< Base64 as carried, or empty.
};

namespace bgb {

/// A client's push, in 16 bytes.
struct PushKey {
  std::array<std::uint8_t, 16> bytes{};
  friend bool operator==(const PushKey&, const PushKey&) = default;
};

/// By TaskGUID when the push has one, else by PushID and TaskID; always within one SMSID (spec 2.6). Two pushes with the same ids
/// but different GUIDs are two pushes: a site that lost its database counts from 1 again.
PushKey push_key(const SmsId& sms_id, const BgbPush& push);

enum class PushFate : std::uint8_t { unanswered, succeeded, failed };

/// What became of each push, so that a repeated one is answered alike and never handed on twice: the fast path on the net thread,
/// asked before anything else looks at a push. What must survive a restart is remembered in the store by whoever takes the push;
/// a push that this memory has lost is handed on again and meets its durable twin there.
///
/// Threads   The net thread.
class PushMemory {
 public:
  virtual ~PushMemory() = default;
  virtual std::optional<PushFate> find(const PushKey& key) = 0;
  virtual void remember(const PushKey& key, PushFate fate) = 0;
};

/// The memory of one process run.
///
/// Limits    `entries_max` pushes for `keep` each; the oldest are forgotten first, and forgotten() counts those forgotten before
///           their time.
class PushMemoryInRam final : public PushMemory {
 public:
  PushMemoryInRam(std::size_t entries_max, std::chrono::milliseconds keep, const Clock& clock);
  std::optional<PushFate> find(const PushKey& key) override;
  void remember(const PushKey& key, PushFate fate) override;
  std::size_t size() const { return fates_.size(); }
  std::uint64_t forgotten() const { return forgotten_; }

 private:
  struct Hash {
    std::size_t operator()(const PushKey& key) const noexcept {
      std::size_t value;  // the key is itself a hash
      std::memcpy(&value, key.bytes.data(), sizeof value);
      return value;
    }
  };
  void forget_expired();

  const std::size_t entries_max_;
  const std::chrono::milliseconds keep_;
  const Clock& clock_;
  std::unordered_map<PushKey, PushFate, Hash> fates_;
  std::deque<std::pair<SteadyTime, PushKey>> oldest_first_;
  std::uint64_t forgotten_ = 0;
};

}  // namespace bgb
}  // namespace greengate::adapters
