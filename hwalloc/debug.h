// The debug level: every block is followed by bytes that must not change, freed blocks are filled
// and kept for a while to find late writes, and every address is checked before it is freed.
//
// Chosen at the start of the process (HWALLOC_DEBUG=1) and then on for all of it; when it is off it
// costs the fast paths nothing, because a checked process has no table entries. All of it is under
// one lock: it is slow, and thread-safe. A fault that is found ends the process with a message.
#ifndef F3_HWALLOC_DEBUG_H_
#define F3_HWALLOC_DEBUG_H_

#include <cstddef>

#include "hwalloc/lock.h"

namespace f3::hwalloc {

// Blocks that were allocated before stay as they are, unchecked.
// REQUIRES: the process has one thread.
void StartDebug();
extern bool g_is_debug;  // written by StartDebug alone
inline bool IsDebug() { return g_is_debug; }

// As their namesakes of allocator.h. Null when there is no memory.
void* DebugAllocate(size_t bytes, size_t alignment, bool zero);
void DebugFree(void* p);
// What was asked for: not a byte more may be used.
size_t DebugUsableSize(const void* p);

// Gives back the freed blocks that are kept.
void DebugTrim();
// Blocks allocated since the level is on.
unsigned long long DebugAllocations();

bool IsDebugFreeSoon();  // as Lock's
void LockDebugForFork();
void UnlockDebugAfterFork();

}  // namespace f3::hwalloc

#endif  // F3_HWALLOC_DEBUG_H_
