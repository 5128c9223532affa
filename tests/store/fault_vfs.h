#pragma once

#include <sqlite3.h>

#include <atomic>
#include <cstdint>
#include <cstring>

namespace greengate::test {

/// A file system layer for SQLite that passes everything on, until it is told to fail.
class FaultVfs {
 public:
  static constexpr const char* name = "greengate-faults";

  static FaultVfs& instance() {
    static FaultVfs only;
    return only;
  }
  /// This many further writes succeed before the disk is full; negative is no limit.
  std::atomic<std::int64_t> writes_left{-1};
  /// Every sync fails as a broken device does.
  std::atomic<bool> sync_fails{false};
  /// Every sync takes this much longer, as on a disk others keep busy.
  std::atomic<int> sync_takes_ms{0};

  void heal() {
    writes_left = -1;
    sync_fails = false;
    sync_takes_ms = 0;
  }

 private:
  struct File {
    sqlite3_file base;
    sqlite3_file* real;  // lies behind this struct, in the room SQLite gave us
  };
  static sqlite3_file* real(sqlite3_file* file) { return reinterpret_cast<File*>(file)->real; }

  FaultVfs() {
    sqlite3_vfs* base = sqlite3_vfs_find(nullptr);
    vfs_ = *base;
    vfs_.zName = name;
    vfs_.pAppData = base;
    vfs_.szOsFile = static_cast<int>(sizeof(File)) + base->szOsFile;
    vfs_.xOpen = [](sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags, int* out) {
      auto* mine = reinterpret_cast<File*>(file);
      mine->real = reinterpret_cast<sqlite3_file*>(mine + 1);
      auto* under = static_cast<sqlite3_vfs*>(vfs->pAppData);
      const int code = under->xOpen(under, path, mine->real, flags, out);
      mine->base.pMethods = mine->real->pMethods ? &instance().methods_ : nullptr;
      return code;
    };
    methods_.iVersion = 2;
    methods_.xClose = [](sqlite3_file* f) { return real(f)->pMethods->xClose(real(f)); };
    methods_.xRead = [](sqlite3_file* f, void* to, int n, sqlite3_int64 at) {
      return real(f)->pMethods->xRead(real(f), to, n, at);
    };
    methods_.xWrite = [](sqlite3_file* f, const void* from, int n, sqlite3_int64 at) {
      auto& left = instance().writes_left;
      if (left == 0) return SQLITE_FULL;
      if (left > 0) --left;
      return real(f)->pMethods->xWrite(real(f), from, n, at);
    };
    methods_.xTruncate = [](sqlite3_file* f, sqlite3_int64 n) {
      return real(f)->pMethods->xTruncate(real(f), n);
    };
    methods_.xSync = [](sqlite3_file* f, int flags) {
      if (const int extra = instance().sync_takes_ms; extra > 0) sqlite3_sleep(extra);
      return instance().sync_fails ? SQLITE_IOERR_FSYNC : real(f)->pMethods->xSync(real(f), flags);
    };
    methods_.xFileSize = [](sqlite3_file* f, sqlite3_int64* n) {
      return real(f)->pMethods->xFileSize(real(f), n);
    };
    methods_.xLock = [](sqlite3_file* f, int l) { return real(f)->pMethods->xLock(real(f), l); };
    methods_.xUnlock = [](sqlite3_file* f, int l) {
      return real(f)->pMethods->xUnlock(real(f), l);
    };
    methods_.xCheckReservedLock = [](sqlite3_file* f, int* r) {
      return real(f)->pMethods->xCheckReservedLock(real(f), r);
    };
    methods_.xFileControl = [](sqlite3_file* f, int op, void* arg) {
      return real(f)->pMethods->xFileControl(real(f), op, arg);
    };
    methods_.xSectorSize = [](sqlite3_file* f) { return real(f)->pMethods->xSectorSize(real(f)); };
    methods_.xDeviceCharacteristics = [](sqlite3_file* f) {
      return real(f)->pMethods->xDeviceCharacteristics(real(f));
    };
    methods_.xShmMap = [](sqlite3_file* f, int page, int size, int extend, void volatile** to) {
      return real(f)->pMethods->xShmMap(real(f), page, size, extend, to);
    };
    methods_.xShmLock = [](sqlite3_file* f, int at, int n, int flags) {
      return real(f)->pMethods->xShmLock(real(f), at, n, flags);
    };
    methods_.xShmBarrier = [](sqlite3_file* f) { real(f)->pMethods->xShmBarrier(real(f)); };
    methods_.xShmUnmap = [](sqlite3_file* f, int remove) {
      return real(f)->pMethods->xShmUnmap(real(f), remove);
    };
    sqlite3_vfs_register(&vfs_, 0);
  }

  sqlite3_vfs vfs_{};
  sqlite3_io_methods methods_{};
};

}  // namespace greengate::test
