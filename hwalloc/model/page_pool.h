// PagePool: the hardware page allocator. It gives physical pages to arenas during the page walk of
// their first access and takes them back from released arenas; the operating system refills it.
// Counts pages only. Not thread-safe.
#ifndef F3_HWALLOC_MODEL_PAGE_POOL_H_
#define F3_HWALLOC_MODEL_PAGE_POOL_H_

#include <algorithm>
#include <cstdint>
#include <unordered_set>

#include "hwalloc/arena.h"
#include "hwalloc/model/parameters.h"

namespace f3::hwmodel {

class PagePool {
 public:
  // Backs the page of `address`. The cycles of it; 0 when it had one.
  uint32_t Back(uint64_t address) {
    if (!backed_.insert(address >> kPageShift).second) return 0;
    ++taken_;
    peak_ = std::max<uint64_t>(peak_, backed_.size());
    uint32_t cycles = kPoolTakeCycles;
    if (--free_ < kPoolPages / 2) cycles += Refill();
    return cycles;
  }

  // Takes back all pages of the arena at `base`; the cycles of it. What the pool has no room for
  // goes back to the operating system.
  uint32_t Release(uint64_t base) {
    uint32_t pages = 0;
    for (uint64_t at = base; at < base + hwalloc::kUnitBytes; at += 1u << kPageShift) {
      pages += static_cast<uint32_t>(backed_.erase(at >> kPageShift));
    }
    free_ = std::min(free_ + pages, kPoolPages);
    returned_ += pages;
    return pages * kPoolReturnCycles;
  }

  // The cycles of giving back all that is left, at exit.
  double ExitCycles() const { return static_cast<double>(backed_.size()) * kPoolReturnCycles; }

  uint64_t backed_pages() const { return backed_.size(); }
  uint64_t peak_pages() const { return peak_; }
  uint64_t taken_pages() const { return taken_; }
  uint64_t returned_pages() const { return returned_; }
  uint64_t refills() const { return refills_; }

 private:
  uint32_t Refill() {
    ++refills_;
    uint32_t pages = kPoolPages - free_;
    free_ = kPoolPages;
    return kRefillCycles + pages * kRefillPageCycles;
  }

  std::unordered_set<uint64_t> backed_;
  uint32_t free_ = kPoolPages;
  uint64_t peak_ = 0, taken_ = 0, returned_ = 0, refills_ = 0;
};

}  // namespace f3::hwmodel

#endif  // F3_HWALLOC_MODEL_PAGE_POOL_H_
