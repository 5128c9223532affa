#include "adapters/bgb/push_memory.h"

#include "core/check.h"

#include <openssl/evp.h>

#include <algorithm>

namespace greengate::adapters::bgb {

PushKey push_key(const SmsId& sms_id, const BgbPush& push) {
  std::string text = sms_id.raw();
  if (push.task_guid.empty()) {
    text += "|ids|" + std::to_string(push.push_id) + "|" + std::to_string(push.task_id);
  } else {
    text += "|guid|";
    for (const char c : push.task_guid)
      if (c != '{' && c != '}')
        text.push_back(c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c);
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  const int done = EVP_Digest(text.data(), text.size(), digest, nullptr, EVP_sha256(), nullptr);
  GREENGATE_CHECK(done == 1, "SHA-256 is always there");
  PushKey key;
  std::copy_n(digest, key.bytes.size(), key.bytes.begin());
  return key;
}

PushMemoryInRam::PushMemoryInRam(std::size_t entries_max, std::chrono::milliseconds keep,
                                 const Clock& clock)
    : entries_max_(entries_max), keep_(keep), clock_(clock) {}

std::optional<PushFate> PushMemoryInRam::find(const PushKey& key) {
  forget_expired();
  const auto found = fates_.find(key);
  if (found == fates_.end()) return std::nullopt;
  return found->second;
}

void PushMemoryInRam::remember(const PushKey& key, PushFate fate) {
  forget_expired();
  const auto [place, is_new] = fates_.try_emplace(key, fate);
  if (!is_new) {
    place->second = fate;
    return;
  }
  oldest_first_.emplace_back(clock_.steady() + keep_, key);
  if (fates_.size() > entries_max_) {
    fates_.erase(oldest_first_.front().second);
    oldest_first_.pop_front();
    ++forgotten_;
  }
}

void PushMemoryInRam::forget_expired() {
  const auto now = clock_.steady();
  while (!oldest_first_.empty() && oldest_first_.front().first <= now) {
    fates_.erase(oldest_first_.front().second);
    oldest_first_.pop_front();
  }
}

}  // namespace greengate::adapters::bgb
