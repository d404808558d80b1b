// TraceBytes: the records of a trace, written by hand. A value.
#ifndef F3_TESTS_HWALLOC_MODEL_TRACE_BYTES_H_
#define F3_TESTS_HWALLOC_MODEL_TRACE_BYTES_H_

#include <string>
#include <vector>

#include "hwalloc/model/record/record_format.h"
#include "hwalloc/model/trace.h"
#include "tests/common/status_matchers.h"

namespace f3::hwmodel {

class TraceBytes {
 public:
  TraceBytes& Record(Tag tag, const std::vector<uint64_t>& numbers) {
    bytes_.push_back(static_cast<char>(tag));
    for (uint64_t number : numbers) Number(number);
    return *this;
  }
  TraceBytes& Raw(const std::string& bytes) {
    bytes_ += bytes;
    return *this;
  }
  TraceBytes& Thread(uint64_t thread) { return Record(Tag::kThread, {thread}); }
  // A whole call, without references.
  TraceBytes& Called(Op op, uint64_t before, uint64_t inside, uint64_t bytes, uint64_t old,
                     uint64_t pointer) {
    auto number = static_cast<uint64_t>(op);
    return Record(Tag::kEnter, {number, before, bytes, old, 0})
        .Record(Tag::kExit, {number, inside, pointer});
  }
  TraceBytes& Reference(uint64_t address, bool store, bool in_call = false) {
    uint8_t buffer[kMaxRecordBytes];
    uint64_t granule = address >> kGranuleShift;
    uint8_t* end = PutReference(buffer, static_cast<int64_t>(granule - granule_), store, in_call);
    granule_ = granule;
    bytes_.append(reinterpret_cast<char*>(buffer), static_cast<size_t>(end - buffer));
    return *this;
  }
  TraceBytes& End(uint64_t instructions = 0) { return Record(Tag::kEnd, {instructions}); }

  const std::string& bytes() const { return bytes_; }

  // Writes them as a trace file.
  void Write(const std::string& path, const std::vector<std::string>& command = {"test"}) const {
    auto writer = TraceWriter::Create(path, command);
    ASSERT_OK(writer);
    // In two pieces, cut anywhere.
    std::string_view all(bytes_);
    ASSERT_OK((*writer)->Append(all.substr(0, all.size() / 2)));
    ASSERT_OK((*writer)->Append(all.substr(all.size() / 2)));
    ASSERT_OK((*writer)->Finish());
  }

 private:
  void Number(uint64_t number) {
    uint8_t buffer[kMaxRecordBytes];
    bytes_.append(reinterpret_cast<char*>(buffer),
                  static_cast<size_t>(PutNumber(buffer, number) - buffer));
  }

  std::string bytes_;
  uint64_t granule_ = 0;
};

}  // namespace f3::hwmodel

#endif  // F3_TESTS_HWALLOC_MODEL_TRACE_BYTES_H_
