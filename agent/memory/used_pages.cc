#include "agent/memory/used_pages.h"

#include <linux/fcntl.h>

namespace shmrec::agent {
namespace {

constexpr uint64_t kPresent = uint64_t{1} << 63, kSwapped = uint64_t{1} << 62;
constexpr uint64_t kLooks = 512;
uint64_t entries[kLooks];  // of pages, as the kernel has them

int kept_page_map = -1;

}  // namespace

void keep_page_map(int fd) { kept_page_map = fd; }

UsedPages::UsedPages()
    : fd_(kept_page_map >= 0 ? kept_page_map : sys(__NR_open, "/proc/self/pagemap", O_CLOEXEC, 0)),
      kept_(kept_page_map >= 0) {}

UsedPages::~UsedPages() {
  if (!failed(fd_) && !kept_) sys(__NR_close, fd_);
}

bool UsedPages::look(uint64_t page) {
  const int64_t got =
      sys(__NR_pread64, fd_, entries, sizeof entries, page / kPage * sizeof entries[0]);
  first_ = page;
  known_ = failed(got) ? 0 : static_cast<uint64_t>(got) / sizeof entries[0];
  return known_;
}

bool UsedPages::used(uint64_t page) const {
  return entries[(page - first_) / kPage] & (kPresent | kSwapped);
}

uint64_t UsedPages::next(uint64_t page, uint64_t end) {
  for (; page < end; page += kPage) {
    const bool known = page >= first_ && page < first_ + known_ * kPage;
    if (failed(fd_) || (!known && !look(page)) || used(page)) return page;
  }
  return end;
}

}  // namespace shmrec::agent
