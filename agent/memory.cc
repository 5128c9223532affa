#include "agent/memory.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace greengate::agent {
namespace {

// Every loaded file's segments that were never writable: their pages hold nothing but what the file
// holds.
int let_go_of_code(dl_phdr_info* file, std::size_t, void*) {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  for (int i = 0; i < file->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = file->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
    const std::uintptr_t begin = (file->dlpi_addr + segment.p_vaddr) & ~(page - 1);
    const std::uintptr_t end = (file->dlpi_addr + segment.p_vaddr + segment.p_memsz) & ~(page - 1);
    // A refusal costs nothing but the memory.
    if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }
  return 0;
}

}  // namespace

void prepare_memory() {
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_TRIM_THRESHOLD, 64 << 10);
  mallopt(M_MMAP_THRESHOLD, 64 << 10);
}

void give_back_memory() {
  malloc_trim(0);
  dl_iterate_phdr(let_go_of_code, nullptr);
}

}  // namespace greengate::agent
