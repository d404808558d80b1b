// LocalReader: gets values in the broker's own process, as a function of one scope would through a
// socket: for the references that open as files in a mount (fs_client/reference_dir.h). The same
// checks decide, and what it has got and not given up is bounded as one connection's is.
//
// Thread-safe. Made by Broker::OpenReader; it, and all that it gave, go before the broker.
#ifndef F3_XDT_LOCAL_READER_H_
#define F3_XDT_LOCAL_READER_H_

#include <cstdint>
#include <functional>
#include <string>

#include "common/status.h"
#include "xdt/content.h"

namespace f3::xdt {

class LocalReader {
 public:
  using Done = std::function<void(Result<ContentRef>)>;
  virtual ~LocalReader() = default;
  // How many bytes a reference's value has, asking nobody. RefMalformed, RefNotAuthentic,
  // RefExpired, RefOutOfScope; what only the value's owner knows is decided by Get.
  virtual Result<uint64_t> Check(const std::string& reference) const = 0;
  // The whole value, never in a file of the disk tier, by one retrieval. `timeout_micros` is for
  // its first bytes; then it comes as long as there is progress. Errors: the six refusals of
  // SEMANTICS.md 10.5; Timeout, Unavailable, PeerUnreachable when its owner does not answer; Again
  // while this reader holds too much; Busy while every retrieval that is left is under way;
  // FileTooBig for more than this node can ever hold. `done` runs once, on any thread, perhaps
  // before this returns; at the broker's shutdown it may be dropped instead.
  virtual void Get(const std::string& reference, int64_t timeout_micros, Done done) = 0;
};

}  // namespace f3::xdt

#endif  // F3_XDT_LOCAL_READER_H_
