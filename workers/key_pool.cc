#include "workers/key_pool.h"

#include "core/log.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace greengate::workers {

KeyPool::KeyPool(std::uint32_t ready_max, Maker make) : make_(std::move(make)), ready_(ready_max) {}

KeyPool::~KeyPool() { stop(); }

Result<adapters::SigningKey> KeyPool::take() {
  if (stopping_) return fail(Remedy::halt, "keys.stopping", "the gateway is stopping.");
  if (auto key = ready_.pop_for(std::chrono::milliseconds(0))) return std::move(*key);
  auto made = make_(stopping_);
  if (!made && stopping_) return fail(Remedy::halt, "keys.stopping", "the gateway is stopping.");
  return made;
}

Result<void> KeyPool::start() {
  maker_ = std::thread([this] { make_keys(); });
  return {};
}

void KeyPool::refuse() { stopping_ = true; }

void KeyPool::drain(SteadyTime) {}

void KeyPool::stop() {
  stopping_ = true;
  ready_.close();
  if (maker_.joinable()) maker_.join();
}

void KeyPool::make_keys() {
  // Keys are made for later; reports are delivered now.
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), 10);
  const Log log("key_pool");
  while (true) {
    auto key = make_(stopping_);
    if (stopping_) return;
    if (!key) {
      log.error("no keys are made ahead any more", kv("code", key.error().code), kv("why", key.error().message));
      return;  // takers go on making their own, and hear why they cannot
    }
    if (!ready_.push(std::move(*key))) return;
  }
}

}  // namespace greengate::workers
