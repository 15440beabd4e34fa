// Which pages of anonymous memory hold something: sanitizers and allocators reserve gigabytes, of
// which few pages are ever used, and to read the others takes seconds.
//
// Threads: one at a time.
#pragma once

#include "agent/runtime.h"

namespace shmrec::agent {

// By /proc/self/pagemap; without it every page may be used.
class UsedPages {
 public:
  UsedPages();
  ~UsedPages();
  UsedPages(const UsedPages&) = delete;
  // The first page of [page, end) that may be used; `end` if there is none. Others read as zero.
  uint64_t next(uint64_t page, uint64_t end);

 private:
  bool look(uint64_t page);
  bool used(uint64_t page) const;

  int64_t fd_;
  bool kept_;
  uint64_t first_ = 0, known_ = 0;  // what has been looked at: so many pages from this one on
};

// Where nothing can be opened: that descriptor is read.
void keep_page_map(int fd);

}  // namespace shmrec::agent
