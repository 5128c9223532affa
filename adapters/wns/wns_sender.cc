#include "adapters/wns/wns_sender.h"

#include "adapters/http/client.h"
#include "adapters/wns/core_parts.h"
#include "adapters/wns/secret_files.h"
#include "adapters/wns/token_source.h"
#include "core/check.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace greengate::adapters {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;

constexpr auto stock_every = std::chrono::minutes(1);
constexpr milliseconds turn_spacing{5};     // so that a bucket of many a second does not mean as many timers
constexpr milliseconds keep_retry{1'000};   // after the book failed
constexpr milliseconds records_patience{500};  // at the stop, beyond the draining
constexpr std::size_t records_at_once = 256;

/// Nobody is ever woken; what is told of sessions is forgotten.
class NoWaker final : public Waker {
 public:
  std::string_view name() const override { return "wns"; }
  Result<void> start() override { return {}; }
  void drain(SteadyTime) override {}
  void stop() override {}
  std::map<AgentId, WakeAnswer> wake(std::span<const AgentId> devices, const WakeOrder&) override {
    std::map<AgentId, WakeAnswer> answers;
    for (const AgentId& device : devices) answers[device] = WakeAnswer{WakeState::no_channel, false, "wake.disabled"};
    return answers;
  }
  void session_opened(const AgentId&) override {}
  void session_closed(const AgentId&) override {}
  void channel_read(const AgentId&, const ChannelReading&) override {}
  std::string pfn_to_set(const AgentId&) override { return {}; }
  void forget(const AgentId&) override {}
  std::optional<ChannelView> view(const AgentId&) const override { return std::nullopt; }
};

class Sender final : public Waker {
 public:
  Sender(asio::io_context& net, WnsSettings settings, ChannelBook& book, const Clock& clock, Metrics& metrics, std::uint64_t seed,
         std::string install_key, std::unique_ptr<HttpClient> pushes, std::unique_ptr<HttpClient> tokens)
      : inside_(std::make_shared<Inside>(net, std::move(settings), book, clock, metrics, seed, std::move(install_key), std::move(pushes),
                                         std::move(tokens))) {}
  ~Sender() override { stop(); }

  std::string_view name() const override { return "wns"; }
  Result<void> start() override { return inside_->start(inside_); }
  void drain(SteadyTime until) override { inside_->drain(until); }
  void stop() override { inside_->stop(inside_); }

  std::map<AgentId, WakeAnswer> wake(std::span<const AgentId> devices, const WakeOrder& order) override {
    std::map<AgentId, WakeAnswer> answers;
    std::size_t taken = 0;
    for (const AgentId& device : devices) {
      WakeAnswer& answer = answers[device];
      if (taken++ >= inside_->settings.batch_devices_max) {
        answer = WakeAnswer{WakeState::failed, false, "wake.too_many"};
        continue;
      }
      inside_->load(device);
      std::lock_guard lock(inside_->mutex);
      answer = inside_->core.wake(device, order);
    }
    inside_->poke(inside_);
    return answers;
  }
  void session_opened(const AgentId& device) override {
    change(device, [&](WnsCore& core) { core.session_opened(device); });
  }
  void session_closed(const AgentId& device) override {
    change(device, [&](WnsCore& core) { core.session_closed(device); });
  }
  void channel_read(const AgentId& device, const ChannelReading& reading) override {
    change(device, [&](WnsCore& core) { core.channel_read(device, reading); });
  }
  std::string pfn_to_set(const AgentId& device) override {
    std::string pfn;
    change(device, [&](WnsCore& core) { pfn = core.pfn_to_set(device); });
    return pfn;
  }
  void forget(const AgentId& device) override {
    std::unique_lock lock(inside_->mutex);
    inside_->core.forget(device);
    inside_->after_change(lock, inside_);
  }
  std::optional<ChannelView> view(const AgentId& device) const override {
    inside_->load(device);
    std::lock_guard lock(inside_->mutex);
    return inside_->core.view(device);
  }

 private:
  // Outlives the Sender as long as a coroutine or timer on `net` holds it.
  struct Inside {
    Inside(asio::io_context& context, WnsSettings given, ChannelBook& its_book, const Clock& its_clock, Metrics& metrics, std::uint64_t seed,
           std::string install_key, std::unique_ptr<HttpClient> push_client, std::unique_ptr<HttpClient> token_client)
        : settings(std::move(given)),
          net(context),
          book(its_book),
          clock(its_clock),
          probe(metrics),
          core(settings, std::move(install_key), clock, probe, seed),
          pushes(std::move(push_client)),
          tokens(std::move(token_client)),
          turn_timer(context),
          stock_timer(context),
          secrets_timer(context) {
      for (const WnsApp& app : settings.apps) {
        sources.push_back(make_token_source(app, settings));
        secrets.emplace_back(app.secret_files);
      }
    }

    Result<void> start(const std::shared_ptr<Inside>& self);
    void drain(SteadyTime until);
    void stop(const std::shared_ptr<Inside>& self);
    void load(const AgentId& device);
    void after_change(std::unique_lock<std::mutex>& lock, const std::shared_ptr<Inside>& self);
    void poke(const std::shared_ptr<Inside>& self);
    void turn(const std::shared_ptr<Inside>& self);
    void arm_stock(const std::shared_ptr<Inside>& self);
    void arm_secrets(const std::shared_ptr<Inside>& self);
    void look_at_secrets();
    void keep_records();
    static asio::awaitable<void> push(std::shared_ptr<Inside> self, PushOrder order);
    static asio::awaitable<void> ask_token(std::shared_ptr<Inside> self, TokenOrder order);

    const WnsSettings settings;
    asio::io_context& net;
    ChannelBook& book;
    const Clock& clock;

    mutable std::mutex mutex;  // guards what follows, down to keeping_stopped
    WnsProbe probe;
    WnsCore core;
    std::vector<SecretFiles> secrets;
    bool running = false;
    bool keeping_stopped = false;
    bool keeping = false;  // the keeper holds records it has not written yet
    std::condition_variable records_wait, settled;
    std::atomic<bool> records_dropped{false};  // the disk had its time

    std::vector<std::unique_ptr<TokenSource>> sources;  // read only
    std::unique_ptr<HttpClient> pushes, tokens;
    std::atomic<bool> turn_posted{false};
    // The net thread's own.
    asio::steady_timer turn_timer, stock_timer, secrets_timer;
    std::thread keeper;
  };

  template <class Change>
  void change(const AgentId& device, Change what) {
    inside_->load(device);
    std::unique_lock lock(inside_->mutex);
    what(inside_->core);
    inside_->after_change(lock, inside_);
  }

  const std::shared_ptr<Inside> inside_;
};

Result<void> Sender::Inside::start(const std::shared_ptr<Inside>& self) {
  std::lock_guard lock(mutex);
  for (std::size_t i = 0; i < secrets.size(); ++i) {
    auto read = secrets[i].read();
    if (!read) return pass(read);
    core.secrets_changed(i, secrets[i].secrets().size());
  }
  running = true;
  keeper = std::thread([this] { keep_records(); });
  core.take_stock();
  asio::post(net, [self] {
    self->arm_stock(self);
    self->arm_secrets(self);
    self->turn(self);
  });
  return {};
}

// What the book holds of a device comes in before anything is decided about it; outside the lock, as the book reads a disk.
void Sender::Inside::load(const AgentId& device) {
  std::uint64_t forgotten = 0;
  {
    std::lock_guard lock(mutex);
    if (core.knows(device) || keeping_stopped) return;
    forgotten = core.forgotten();
  }
  auto found = book.find(device);
  if (!found) {
    wns_log().warn("channel not read", kv("agent", device.raw()), kv("code", found.error().code), kv("why", found.error().message));
    return;
  }
  if (!*found || (*found)->empty()) return;
  auto record = decode_record(**found);
  wipe(**found);
  if (!record) {
    wns_log().warn("channel not read", kv("agent", device.raw()), kv("code", record.error().code), kv("why", record.error().message));
    return;
  }
  std::lock_guard lock(mutex);
  if (core.forgotten() == forgotten) core.load(device, std::move(*record));
}

void Sender::Inside::after_change(std::unique_lock<std::mutex>& lock, const std::shared_ptr<Inside>& self) {
  const bool records = core.has_records();
  lock.unlock();
  if (records) records_wait.notify_one();
  poke(self);
}

void Sender::Inside::poke(const std::shared_ptr<Inside>& self) {
  if (turn_posted.exchange(true)) return;
  asio::post(net, [self] { self->turn(self); });
}

void Sender::Inside::turn(const std::shared_ptr<Inside>& self) {
  turn_posted = false;
  WnsWork work;
  SteadyTime due;
  {
    std::lock_guard lock(mutex);
    if (!running) return;
    work = core.turn();
    due = core.next_due();
    if (core.has_records()) records_wait.notify_one();
  }
  const auto report = [](std::exception_ptr thrown) {
    if (thrown) std::rethrow_exception(thrown);  // out of memory, or a bug of ours
  };
  for (PushOrder& order : work.pushes) asio::co_spawn(net, push(self, std::move(order)), report);
  for (const TokenOrder& order : work.tokens) asio::co_spawn(net, ask_token(self, order), report);
  turn_timer.cancel();
  if (due == SteadyTime::max()) return;
  const auto left = std::chrono::duration_cast<milliseconds>(due - clock.steady());
  turn_timer.expires_after(std::clamp<milliseconds>(left, turn_spacing, stock_every));
  turn_timer.async_wait([self](boost::system::error_code cancelled) {
    if (!cancelled) self->turn(self);
  });
}

asio::awaitable<void> Sender::Inside::push(std::shared_ptr<Inside> self, PushOrder order) {
  HttpRequest request = push_request(order, self->settings.push_timeout);
  auto reply = co_await self->pushes->exchange(std::move(request));
  PushAnswer answer;
  if (reply) {
    answer.status = reply->status;
    answer.reason = std::move(reply->reason);
    answer.headers = std::move(reply->headers);
  } else {
    answer.failure = reply.error().code;
  }
  {
    std::lock_guard lock(self->mutex);
    self->core.push_answered(order.id, answer);
    if (self->core.pushes_in_flight() == 0) self->settled.notify_all();
  }
  self->poke(self);
}

asio::awaitable<void> Sender::Inside::ask_token(std::shared_ptr<Inside> self, TokenOrder order) {
  const TokenSource& source = *self->sources[order.app];
  std::string form;
  {
    std::lock_guard lock(self->mutex);
    const auto& secrets = self->secrets[order.app].secrets();
    // The files may have been replaced by fewer since.
    form = source.form(secrets[std::min(order.secret, secrets.size() - 1)]);
  }
  HttpRequest request;
  request.server = source.server();
  request.method = "POST";
  request.target = source.target();
  request.headers = {{"Content-Type", "application/x-www-form-urlencoded"}, {"Accept", "application/json"}};
  request.body = form;
  request.deadline = self->settings.token_timeout;
  auto reply = co_await self->tokens->exchange(std::move(request));
  wipe(form);
  std::optional<Result<TokenGrant>> grant;
  if (reply) {
    grant.emplace(source.read(reply->status, reply->header("Retry-After"), reply->body, self->clock.wall()));
    wipe(reply->body);
  } else {
    // Never permanent: a name that does not prove itself today may tomorrow.
    grant.emplace(fail(Remedy::retry, reply.error().code, reply.error().message));
  }
  {
    std::lock_guard lock(self->mutex);
    self->core.token_answered(order.app, std::move(*grant));
  }
  self->poke(self);
}

void Sender::Inside::arm_stock(const std::shared_ptr<Inside>& self) {
  stock_timer.expires_after(std::min<milliseconds>(stock_every, settings.connection_idle));
  stock_timer.async_wait([self](boost::system::error_code cancelled) {
    if (cancelled) return;
    {
      std::lock_guard lock(self->mutex);
      if (!self->running) return;
      self->core.take_stock();
    }
    self->pushes->close_idle();
    self->tokens->close_idle();
    self->arm_stock(self);
  });
}

void Sender::Inside::arm_secrets(const std::shared_ptr<Inside>& self) {
  secrets_timer.expires_after(settings.secrets_check);
  secrets_timer.async_wait([self](boost::system::error_code cancelled) {
    if (cancelled) return;
    {
      std::lock_guard lock(self->mutex);
      if (!self->running) return;
      self->look_at_secrets();
    }
    self->poke(self);
    self->arm_secrets(self);
  });
}

void Sender::Inside::look_at_secrets() {
  for (std::size_t i = 0; i < secrets.size(); ++i) {
    auto changed = secrets[i].read_if_changed();
    if (!changed) {
      wns_log().error("secret not read", kv("app", settings.apps[i].pfn), kv("code", changed.error().code), kv("why", changed.error().message));
    } else if (*changed) {
      wns_log().info("secret replaced", kv("app", settings.apps[i].pfn));
      core.secrets_changed(i, secrets[i].secrets().size());
    }
  }
}

// The keeper thread: the book waits for its disk, which the net thread must not.
void Sender::Inside::keep_records() {
  std::unique_lock lock(mutex);
  std::vector<std::pair<AgentId, std::string>> records;
  for (;;) {
    if (records.empty()) {
      keeping = false;
      settled.notify_all();
      records_wait.wait(lock, [this] { return core.has_records() || keeping_stopped; });
      if (!core.has_records()) return;
      records = core.take_records(records_at_once);
      keeping = true;
    }
    lock.unlock();
    bool failed = false;
    while (!records.empty() && !failed && !records_dropped) {
      auto& [device, text] = records.back();
      auto kept = book.keep(device, text);
      if (kept) {
        wipe(text);
        records.pop_back();
      } else {
        failed = true;
        wns_log().error("channel not kept", kv("agent", device.raw()), kv("code", kept.error().code), kv("why", kept.error().message));
      }
    }
    lock.lock();
    if (!failed && !records_dropped) continue;
    if (keeping_stopped) {
      for (auto& [device, text] : records) wipe(text);
      keeping = false;
      settled.notify_all();
      return;
    }
    records_wait.wait_for(lock, keep_retry, [this] { return keeping_stopped; });
  }
}

void Sender::Inside::drain(SteadyTime until) {
  std::unique_lock lock(mutex);
  core.refuse();
  while ((core.pushes_in_flight() > 0 || core.has_records() || keeping) && running && clock.steady() < until) {
    records_wait.notify_one();
    settled.wait_for(lock, milliseconds(20));
  }
}

void Sender::Inside::stop(const std::shared_ptr<Inside>& self) {
  {
    std::lock_guard lock(mutex);
    if (keeping_stopped) return;
    running = false;
    keeping_stopped = true;
  }
  records_wait.notify_all();
  if (keeper.joinable()) {
    // A channel that the disk does not take by then is one its device has to tell again.
    std::unique_lock lock(mutex);
    settled.wait_for(lock, records_patience, [this] { return !keeping && !core.has_records(); });
    records_dropped = true;
    lock.unlock();
    keeper.join();
  }
  pushes->abandon();
  tokens->abandon();
  asio::post(net, [self] {
    self->turn_timer.cancel();
    self->stock_timer.cancel();
    self->secrets_timer.cancel();
  });
}

HttpClientConfig client_config(const WnsSettings& settings) {
  HttpClientConfig config;
  config.ca_file = settings.ca_file;
  config.connect_override = settings.connect_override;
  config.public_addresses_only = settings.public_addresses_only;
  config.connect_timeout = settings.connect_timeout;
  config.tls_timeout = settings.tls_timeout;
  config.kept_per_server_max = settings.connections_per_host_max;
  config.kept_idle_max = settings.connection_idle;
  config.header_bytes_max = static_cast<std::size_t>(settings.reply_header_bytes_max);
  return config;
}

}  // namespace

Result<std::unique_ptr<Waker>> make_wns_waker(asio::io_context& net, WnsSettings settings, ChannelBook& book, const Clock& clock,
                                              Metrics& metrics, std::uint64_t seed) {
  if (!settings.enabled) return std::unique_ptr<Waker>(std::make_unique<NoWaker>());
  auto key = fingerprint_key(settings.fingerprint_key_file);
  if (!key) return pass(key);
  HttpClientConfig for_pushes = client_config(settings);
  for_pushes.body_bytes_max = static_cast<std::size_t>(settings.reply_body_bytes_max);
  for_pushes.cut_long_bodies = true;
  if (const auto problems = for_pushes.problems("wns"); !problems.empty())
    return fail(Remedy::reject, "wns.config", problems.front().message);
  auto pushes = HttpClient::create(net, std::move(for_pushes), metrics);
  if (!pushes) return pass(pushes);
  HttpClientConfig for_tokens = client_config(settings);
  for_tokens.body_bytes_max = static_cast<std::size_t>(settings.token_body_bytes_max);
  auto tokens = HttpClient::create(net, std::move(for_tokens), metrics);
  if (!tokens) return pass(tokens);
  return std::unique_ptr<Waker>(std::make_unique<Sender>(net, std::move(settings), book, clock, metrics, seed, std::move(*key),
                                                         std::move(*pushes), std::move(*tokens)));
}

}  // namespace greengate::adapters
