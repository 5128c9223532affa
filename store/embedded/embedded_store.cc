#include "store/embedded/embedded_store.h"

#include "core/descriptor.h"
#include "core/log.h"
#include "store/embedded/baselines.h"
#include "store/embedded/device_registry.h"
#include "store/embedded/mailbox.h"
#include "store/embedded/probe.h"
#include "store/embedded/readers.h"
#include "store/embedded/report_queue.h"
#include "store/embedded/salvage.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>

namespace greengate::store {

namespace {

const Log log("store");

tl::unexpected<Error> cannot(const std::string& what, const std::string& path) {
  return fail(Remedy::retry, "store.open",
              "cannot " + what + " " + path + ": " + std::strerror(errno) + ".");
}

/// Two processes on one file would each believe their own memory.
Result<Descriptor> lock_directory(const std::string& directory) {
  const std::string path = directory + "/greengate.lock";
  Descriptor lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (lock.get() < 0) return cannot("open", path);
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return cannot("lock", path);
    return fail(Remedy::retry, "store.open",
                "The store in " + directory + " is in use by another process.");
  }
  return lock;
}

Result<void> sync_directory(const std::string& directory) {
  const Descriptor handle(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (handle.get() < 0 || fsync(handle.get()) != 0) return cannot("sync", directory);
  return {};
}

bool says_damaged(const Error& error) {
  return std::string_view(error.code) == kDamagedCode;
}

Error as_open_error(Error error) {
  error.code = "store.open";
  return error;
}

std::string time_suffix(WallTime now) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &parts);
  return text;
}

class EmbeddedStore final : public Store {
 public:
  EmbeddedStore(const StoreConfig& config, const EmbeddedOptions& options, const Clock& clock,
                Metrics& metrics)
      : options_(options),
        directory_(config.directory),
        path_(config.directory + "/greengate.db"),
        rebuilt_(path_ + ".rebuilt"),
        clock_(clock),
        probe_(metrics),
        mailbox_probe_(metrics),
        readers_(path_, options.database, options.readers_max),
        config_(config) {}

  ~EmbeddedStore() override { stop(); }

  Result<void> open_files() {
    std::error_code problem;
    std::filesystem::create_directories(directory_, problem);
    if (problem) {
      return fail(Remedy::retry, "store.open",
                  "cannot make the directory " + directory_ + ": " + problem.message() + ".");
    }
    auto lock = lock_directory(directory_);
    if (!lock) return pass(lock);
    lock_ = std::move(*lock);
    if (auto finished = finish_rebuilding(); !finished) return finished;

    auto loaded = load();
    if (!loaded && damaged_) {
      log.error("store file damaged", kv("path", path_), kv("why", loaded.error().message));
      probe_.damaged_files.add();
      loaded = rebuild();
      if (loaded) loaded = load();
    }
    if (!loaded) return tl::unexpected(as_open_error(loaded.error()));
    start_writer();
    return {};
  }

  std::string_view name() const override { return "store"; }

  Result<void> start() override {
    if (stopped_) return fail(Remedy::reject, "store.open", "The store was stopped; open it anew.");
    return {};
  }

  void drain(SteadyTime until) override {
    queue_->refuse_new();
    registry_->write_seen(true);
    const auto patience =
        std::chrono::duration_cast<std::chrono::milliseconds>(until - clock_.steady());
    if (!writer_->wait_idle(std::max(patience, std::chrono::milliseconds(0)))) {
      log.warn("store not idle at the end of draining");
    }
  }

  void stop() override {
    if (stopped_ || !writer_) return;
    stopped_ = true;
    queue_->refuse_new();
    registry_->write_seen(true);
    writer_->stop();
  }

  ReportQueue& reports() override { return *queue_; }
  DeviceRegistry& devices() override { return *registry_; }
  Baselines& baselines() override { return *baselines_; }
  Mailbox& mailbox() override { return *mailbox_; }

 private:
  /// Opens the file, brings its schema up to date and reads what memory needs. `damaged_` says why
  /// it failed.
  Result<void> load() {
    damaged_ = false;
    mailbox_.reset();
    baselines_.reset();
    queue_.reset();
    registry_.reset();
    database_.reset();
    if (auto made = make_private(path_); !made) return made;
    struct stat facts {};
    if (stat(path_.c_str(), &facts) != 0) return cannot("look at", path_);
    if (facts.st_size > 0 &&
        facts.st_size < 512) {  // not even a header: SQLite would take it for a new file
      damaged_ = true;
      return fail(Remedy::retry, "store.open", path_ + " is shorter than any database.");
    }
    auto database = Database::open(path_, Database::Use::writing, options_.database);
    if (!database) {
      damaged_ = says_damaged(database.error());
      return pass(database);
    }
    database_ = std::make_unique<Database>(std::move(*database));
    auto ready = prepare_schema(*database_);
    if (ready) {
      RegistrySettings registry;
      registry.devices_max = config_.devices_max;
      registry.pending_max = config_.pending_max;
      registry.tokens_max = config_.tokens_max;
      registry_ = std::make_unique<EmbeddedDeviceRegistry>(registry, readers_, clock_);
      ready = registry_->load(*database_);
    }
    if (ready) {
      QueueSettings queue;
      queue.bytes_max = static_cast<std::uint64_t>(config_.queue_bytes_max);
      queue.reserve_percent = config_.reserve_percent;
      queue.lease_time = config_.lease_time;
      queue.history_per_device = config_.history_per_device;
      queue.buried_bytes_max = queue.bytes_max / 8;
      queue.pending_bytes_max = options_.pending_bytes_max;
      queue.free_bytes = options_.free_bytes ? options_.free_bytes : [directory = directory_] {
        struct statvfs room {};
        // Unknown is not full: should the disk be, the write says so.
        if (statvfs(directory.c_str(), &room) != 0) return ~std::uint64_t{0};
        return static_cast<std::uint64_t>(room.f_bavail) * room.f_frsize;
      };
      queue_ = std::make_unique<EmbeddedReportQueue>(std::move(queue), *registry_, readers_, clock_,
                                                     probe_);
      baselines_ = std::make_unique<EmbeddedBaselines>(*queue_, readers_, probe_);
      ready = queue_->load(*database_);
    }
    if (ready) {
      mailbox_ = std::make_unique<EmbeddedMailbox>(config_.mailbox, readers_, clock_, mailbox_probe_);
      ready = mailbox_->load(*database_);
    }
    if (!ready) damaged_ = says_damaged(ready.error());
    return ready;
  }

  /// Saves what can be read into a new file, complete and synced, before the two change places: a
  /// crash on the way costs only time.
  Result<void> rebuild() {
    mailbox_.reset();
    baselines_.reset();
    queue_.reset();
    registry_.reset();
    database_.reset();
    if (auto made = make_private(rebuilt_); !made) return made;
    Salvaged saved;
    {
      auto target = Database::open(rebuilt_, Database::Use::writing, options_.database);
      if (!target) return pass(target);
      if (auto ready = prepare_schema(*target); !ready) return ready;
      auto salvaged = salvage_rows(path_, *target, options_.database);
      if (!salvaged) return pass(salvaged);
      saved = *salvaged;
    }
    if (std::filesystem::exists(
            rebuilt_ + "-wal")) {  // closing moves the log into the file, unless the disk refuses
      return fail(Remedy::retry, "store.open", "The rebuilt file could not be completed.");
    }
    auto aside = set_aside();
    if (!aside) return pass(aside);
    if (auto finished = finish_rebuilding(); !finished) return finished;
    log.error("store began anew", kv("damaged_file", *aside), kv("salvaged_rows", saved.rows),
              kv("tables_cut_short", saved.tables_cut_short));
    return {};
  }

  /// A rebuilt file is whole once the damaged one has left its place; before that it is an attempt
  /// that was cut off.
  Result<void> finish_rebuilding() {
    if (!std::filesystem::exists(rebuilt_)) return {};
    if (!std::filesystem::exists(path_)) {
      if (std::rename(rebuilt_.c_str(), path_.c_str()) != 0) return cannot("rename", rebuilt_);
    } else {
      for (const char* part : {"", "-wal", "-shm"}) {
        if (unlink((rebuilt_ + part).c_str()) != 0 && errno != ENOENT)
          return cannot("remove", rebuilt_ + part);
      }
    }
    return sync_directory(directory_);
  }

  Result<std::string> set_aside() {
    const std::string suffix = ".damaged-" + time_suffix(clock_.wall());
    std::string aside = path_ + suffix;
    // Never over an older one: two may be damaged within a second.
    for (int n = 2; std::filesystem::exists(aside); ++n)
      aside = path_ + suffix + "-" + std::to_string(n);
    if (std::rename(path_.c_str(), aside.c_str()) != 0) return cannot("rename", path_);
    for (const char* side : {"-wal", "-shm"}) {
      if (std::rename((path_ + side).c_str(), (aside + side).c_str()) != 0 && errno != ENOENT) {
        return cannot("rename", path_ + side);
      }
    }
    if (auto synced = sync_directory(directory_); !synced) return pass(synced);
    return aside;
  }

  /// Made here so that the reports of a fleet are nobody else's to read; SQLite's side files follow
  /// its mode.
  Result<void> make_private(const std::string& path) {
    const Descriptor made(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (made.get() < 0) return cannot("open", path);
    return sync_directory(directory_);
  }

  void start_writer() {
    auto page_bytes = database_->number("PRAGMA page_size", options_.database.page_bytes);
    writer_ = std::make_unique<Writer>(
        std::move(*database_),
        static_cast<std::uint32_t>(page_bytes ? *page_bytes : options_.database.page_bytes),
        options_.writer, std::vector<Ledger*>{queue_.get(), registry_.get(), mailbox_.get()}, clock_, probe_);
    database_.reset();
    queue_->attach(*writer_);
    registry_->attach(*writer_);
    mailbox_->attach(*writer_);
    writer_->start([this] {
      queue_->housekeeping();
      mailbox_->housekeeping();
      registry_->write_seen(false);
      probe_.devices.set(static_cast<double>(registry_->size()));
    });
  }

  const EmbeddedOptions options_;
  const std::string directory_, path_, rebuilt_;
  const Clock& clock_;
  StoreProbe probe_;
  MailboxProbe mailbox_probe_;
  Descriptor lock_;
  bool damaged_ = false;
  bool stopped_ = false;
  Readers readers_;
  const StoreConfig config_;
  std::unique_ptr<Database> database_;  ///< Until the writer has it.
  std::unique_ptr<EmbeddedDeviceRegistry> registry_;
  std::unique_ptr<EmbeddedReportQueue> queue_;
  std::unique_ptr<EmbeddedBaselines> baselines_;
  std::unique_ptr<EmbeddedMailbox> mailbox_;
  std::unique_ptr<Writer> writer_;
};

}  // namespace

Result<std::unique_ptr<Store>> open_embedded(const StoreConfig& config,
                                             const EmbeddedOptions& options, const Clock& clock,
                                             Metrics& metrics) {
  auto store = std::make_unique<EmbeddedStore>(config, options, clock, metrics);
  if (auto opened = store->open_files(); !opened) return pass(opened);
  return std::unique_ptr<Store>(std::move(store));
}

}  // namespace greengate::store
