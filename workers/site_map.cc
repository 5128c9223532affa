#include "workers/site_map.h"

#include "adapters/http/url.h"
#include "adapters/mp/bootstrap.h"
#include "core/backoff.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>

namespace greengate::workers {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t certificate_file_bytes_max = 64 * 1024;
constexpr BackoffConfig after_failure{milliseconds(30'000), milliseconds(900'000)};

std::optional<std::string> contents(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return std::nullopt;
  std::string bytes(certificate_file_bytes_max, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<std::size_t>(in.gcount()));
  return bytes;
}

// Whole or not at all, and on disk when it returns.
bool write_whole(const std::string& file, const std::string& bytes) {
  const std::string aside = file + ".new";
  const int descriptor = ::open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (descriptor < 0) return false;
  const bool written = ::write(descriptor, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()) && ::fsync(descriptor) == 0;
  ::close(descriptor);
  return written && ::rename(aside.c_str(), file.c_str()) == 0;
}

}  // namespace

std::vector<ConfigProblem> SiteMapConfig::problems() const {
  std::vector<ConfigProblem> found;
  if (mp_list_interval != milliseconds(0) && (mp_list_interval < milliseconds(1'000) || mp_list_interval > std::chrono::hours(24 * 7))) {
    found.push_back({"site.mp_list_interval", "site.mp_list_interval is " + duration_text(mp_list_interval) +
                                                  "; it can be 1s to 7d, or 0s for never (1h if left out)."});
  }
  for (const std::string& domain : mp_list_domains) {
    if (adapters::fit_for_learned_host("mp." + domain)) continue;
    found.push_back({"site.mp_list_domains", "site.mp_list_domains holds \"" + domain + "\"; give domains such as \"example.test\"."});
  }
  return found;
}

SiteMap::SiteMap(SiteMapConfig config, const adapters::MpSettings& settings, Ways ways, const Clock& clock, Metrics& metrics,
                 std::uint64_t seed)
    : config_(std::move(config)),
      settings_(settings),
      ways_(std::move(ways)),
      clock_(clock),
      seed_(seed),
      refreshed_(metrics.counter("greengate_site_map_refreshes_total", "Times the site's own list was asked for.", {{"outcome", "followed"}})),
      failed_(metrics.counter("greengate_site_map_refreshes_total", "Times the site's own list was asked for.", {{"outcome", "failed"}})),
      learned_(metrics.gauge("greengate_site_map_learned_points", "Management points known only from the site's own list.")),
      changed_(metrics.gauge("greengate_site_map_certificate_changed", "1 while the site's signing certificate is not the pinned one.")),
      hosts_(config_.configured, config_.mp_list_domains) {
  bool http_port_known = false, https_port_known = false;
  for (const std::string& address : config_.configured) {
    const auto url = adapters::parse_url(address);
    if (!url) continue;  // the doors were opened from the same list, and complained
    configured_.push_back({address, url->host, "", url->tls, true});
    bool& known = url->tls ? https_port_known : http_port_known;
    if (!known) (url->tls ? https_port_ : http_port_) = url->port;
    known = true;
  }
  view_.points = configured_;
}

SiteMap::~SiteMap() { stop(); }

Result<void> SiteMap::start() {
  if (auto loaded = load_pin(); !loaded) return loaded;
  {
    std::lock_guard lock(mutex_);
    stopping_ = false;
  }
  if (config_.mp_list_interval > milliseconds(0)) thread_ = std::thread([this] { run(); });
  return {};
}

void SiteMap::drain(SteadyTime) {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_wanted_.notify_all();
}

void SiteMap::stop() {
  drain({});
  if (thread_.joinable()) thread_.join();
}

void SiteMap::run() {
  Backoff failures(after_failure, seed_);
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    auto done = refresh();
    milliseconds wait = config_.mp_list_interval;
    if (done) {
      failures.reset();
    } else if (done.error().remedy != Remedy::halt) {
      wait = std::min(wait, failures.next(done.error().retry_after));
      log_.warn("the site's list could not be followed", kv("code", done.error().code), kv("why", done.error().message),
                kv("retry_in_ms", wait));
    }
    lock.lock();
    stop_wanted_.wait_for(lock, wait, [this] { return stopping_; });
  }
}

Result<void> SiteMap::load_pin() {
  std::lock_guard refreshing(refresh_mutex_);
  const bool named = !config_.signing_certificate_file.empty();
  const std::string& file = named ? config_.signing_certificate_file : config_.pin_file;
  const auto bytes = file.empty() ? std::nullopt : contents(file);
  if (!bytes && !named) return {};  // nothing pinned yet
  auto certificate = bytes ? adapters::certificate_of_file(*bytes)
                           : Result<std::string>(fail(Remedy::reject, "site.certificate_file", std::string(std::strerror(errno)) + "."));
  if (!certificate) {
    return fail(Remedy::reject, "site.certificate_file",
                "The site signing certificate " + file + " cannot be used: " + certificate.error().message);
  }
  pin_ = std::move(*certificate);
  std::lock_guard lock(mutex_);
  view_.signing_fingerprint = adapters::fingerprint_of(pin_);
  return {};
}

Result<void> SiteMap::refresh() {
  std::lock_guard refreshing(refresh_mutex_);
  auto done = check_signing_certificate();
  if (done) {
    note_mp_certificate();
    done = follow_list();
  }
  (done ? refreshed_ : failed_).add();
  return done;
}

Result<void> SiteMap::check_signing_certificate() {
  auto document = ways_.get(adapters::bootstrap_target(settings_, adapters::Bootstrap::site_signing_certificate));
  auto certificate = document ? adapters::parse_certificate(settings_, *document) : std::move(document);
  // A site that never showed one may go on so; one that did must show it again before its list is believed.
  if (!certificate) return pin_.empty() && certificate.error().remedy == Remedy::reject ? Result<void>() : Result<void>(pass(certificate));
  const std::string fingerprint = adapters::fingerprint_of(*certificate);
  const bool first = pin_.empty();
  if (first) {
    pin_ = *certificate;
    const bool kept = config_.pin_file.empty() || write_whole(config_.pin_file, adapters::pem_of_certificate(pin_));
    log_.info("site signing certificate pinned", kv("fingerprint", fingerprint), kv("file", config_.pin_file));
    if (!kept) log_.error("the pin could not be kept", kv("file", config_.pin_file), kv("why", std::strerror(errno)));
  }
  const bool changed = *certificate != pin_;
  changed_.set(changed ? 1 : 0);
  {
    std::lock_guard lock(mutex_);
    view_.certificate_changed = changed;
    view_.signing_fingerprint = adapters::fingerprint_of(pin_);
  }
  if (!changed) return {};
  const std::string file = config_.signing_certificate_file.empty() ? config_.pin_file : config_.signing_certificate_file;
  log_.error("the site shows another signing certificate than the pinned one", kv("code", "site.certificate_changed"),
             kv("fingerprint", fingerprint), kv("pinned", adapters::fingerprint_of(pin_)), kv("file", file),
             kv("consequence", "its list is not followed until an operator removes or replaces the file and starts again"));
  return fail(Remedy::reject, "site.certificate_changed", "The site's signing certificate is not the pinned one.");
}

void SiteMap::note_mp_certificate() {
  auto document = ways_.get(adapters::bootstrap_target(settings_, adapters::Bootstrap::mp_certificate));
  if (!document) return;  // only shown to operators
  const auto certificate = adapters::parse_certificate(settings_, *document);
  if (!certificate) return;
  std::lock_guard lock(mutex_);
  view_.mp_fingerprint = adapters::fingerprint_of(*certificate);
}

Result<void> SiteMap::follow_list() {
  auto document = ways_.get(adapters::bootstrap_target(settings_, adapters::Bootstrap::mp_list));
  if (!document) return pass(document);
  std::size_t passed_over = 0;
  auto listed = adapters::parse_mp_list(settings_, *document, &passed_over);
  if (!listed) return pass(listed);

  std::vector<SitePoint> points = configured_, learned;
  for (const adapters::ListedPoint& point : *listed) {
    const auto known = std::find_if(points.begin(), points.end(),
                                    [&](const SitePoint& other) { return other.host == point.host && other.https == point.https; });
    if (known != points.end()) {
      known->version = point.version;
      continue;
    }
    if (!hosts_.allow(point.host, point.https) || learned.size() >= config_.learned_max) {
      ++passed_over;
      continue;
    }
    const std::uint16_t port = point.https ? https_port_ : http_port_;
    std::string address = (point.https ? "https://" : "http://") + point.host;
    if (port != (point.https ? 443 : 80)) address += ":" + std::to_string(port);
    learned.push_back({std::move(address), point.host, point.version, point.https, false});
  }
  if (!config_.follow_mp_list) learned.clear();
  // Gateways of one site begin at different places of its list, so that they do not all turn to the same one.
  if (!learned.empty()) std::rotate(learned.begin(), learned.begin() + static_cast<std::ptrdiff_t>(seed_ % learned.size()), learned.end());
  points.insert(points.end(), learned.begin(), learned.end());

  bool different = false;
  {
    std::lock_guard lock(mutex_);
    different = !std::equal(points.begin(), points.end(), view_.points.begin(), view_.points.end(),
                            [](const SitePoint& a, const SitePoint& b) { return a.address == b.address; });
  }
  if (different) {
    std::vector<std::unique_ptr<MpDoor>> doors;
    for (const SitePoint& point : points) {
      auto door = ways_.open(point.address);
      if (!door) return pass(door);
      doors.push_back(std::move(*door));
    }
    ways_.set_points(std::move(doors));
    log_.info("management points of the site", kv("points", points.size()), kv("learned", learned.size()), kv("passed_over", passed_over));
  }
  learned_.set(static_cast<double>(learned.size()));
  std::lock_guard lock(mutex_);
  view_.points = std::move(points);
  view_.listed_at = clock_.wall();
  return {};
}

SiteView SiteMap::view() const {
  std::lock_guard lock(mutex_);
  return view_;
}

}  // namespace greengate::workers
