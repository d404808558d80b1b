// A metadata server of one input of the request fuzzer: no network, a store in memory, a clock that
// stands still, two nodes that acknowledge what they are told, and a few files. Not thread-safe.
#ifndef F3_TESTS_FUZZ_FUZZ_SERVER_H_
#define F3_TESTS_FUZZ_FUZZ_SERVER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/clock.h"
#include "metadata/core.h"
#include "metadata/metadata.pb.h"

namespace f3::meta::fuzz {

// Well-formed requests, one or more of each operation, to mutate from.
const std::vector<std::string>& SampleRequests();

// Aborts, for the fuzzer to notice, after saying what does not hold.
void Check(bool holds, const std::string& what);

class FuzzServer {
 public:
  FuzzServer();
  ~FuzzServer();

  // Runs one request to its answer. Numbers below 64 of inodes, sessions and so on are replaced by
  // those of what exists; a mutation without a token gets one.
  Reply Run(Request request);
  // Longer than sessions live without a sign; the first node gives one.
  void PassTime();
  // What `f3 fsck` checks, and that every inode has as many names as it says.
  void CheckNamespace();

 private:
  struct Shared;

  void Resolve(google::protobuf::Message* message) const;
  void Learn(const Reply& reply);
  void Attach(SessionId session);
  SessionId Register(const std::string& name);
  // Until `finished` (null: as long as there are any), acknowledges the events that were sent.
  void Acknowledge(const bool* finished);
  Reply Ask(Request request);
  // What a request of the command line answers.
  Reply Read(const Request& request);
  void CountNames(Ino directory, std::map<Ino, uint32_t>* names);

  ManualClock clock_;
  std::shared_ptr<Shared> shared_;
  std::unique_ptr<MetadataCore> core_;
  uint64_t next_token_ = 1000;
  std::vector<uint64_t> inodes_, sessions_, uniques_;
};

}  // namespace f3::meta::fuzz

#endif  // F3_TESTS_FUZZ_FUZZ_SERVER_H_
