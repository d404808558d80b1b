// Requests to the metadata server: whatever an authenticated client sends, every request is
// answered once with a reply that can be read back, and the namespace stays sound.
//
// An input is a list of records: two bytes of length, then a Request; one of length zero lets time
// pass. Small inode numbers, sessions and incarnations stand for those that exist (fuzz_server.cc).
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/fuzz_server.h"

// libFuzzer's own mutations.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

using f3::meta::Request;

std::vector<std::string> Split(const uint8_t* data, size_t size) {
  std::vector<std::string> records;
  while (size >= 2) {
    const size_t length = std::min<size_t>(data[0] | data[1] << 8, size - 2);
    records.emplace_back(reinterpret_cast<const char*>(data) + 2, length);
    data += 2 + length;
    size -= 2 + length;
  }
  return records;
}

size_t Join(const std::vector<std::string>& records, uint8_t* data, size_t max_size) {
  size_t size = 0;
  for (const std::string& record : records) {
    if (record.size() > 0xffff || size + 2 + record.size() > max_size) break;
    data[size] = static_cast<uint8_t>(record.size());
    data[size + 1] = static_cast<uint8_t>(record.size() >> 8);
    std::memcpy(data + size + 2, record.data(), record.size());
    size += 2 + record.size();
  }
  return size;
}

std::string Mutated(const std::string& record, size_t max_size) {
  std::string room = record;
  room.resize(std::min(std::max(record.size() + 64, size_t{1}), std::max(max_size, record.size())));
  if (room.empty()) return room;
  room.resize(
      LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(room.data()), record.size(), room.size()));
  return room;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  f3::meta::fuzz::FuzzServer server;
  for (const std::string& record : Split(data, size)) {
    Request request;
    if (record.empty()) {
      server.PassTime();
    } else if (request.ParseFromString(record)) {
      server.Run(std::move(request));
    }
  }
  server.CheckNamespace();
  return 0;
}

// Keeps the records apart: a request is added, taken out, or changed by itself.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned int seed) {
  std::minstd_rand random(seed);
  std::vector<std::string> records = Split(data, size);
  const auto place = [&](size_t places) {
    return records.begin() + static_cast<std::ptrdiff_t>(random() % places);
  };
  const unsigned choice = random() % 8;
  if (records.empty() || choice < 3) {
    const auto& samples = f3::meta::fuzz::SampleRequests();
    records.insert(place(records.size() + 1), samples[random() % samples.size()]);
  } else if (choice == 3) {
    records.erase(place(records.size()));
  } else {
    auto record = place(records.size());
    *record = Mutated(*record, max_size - std::min(max_size, size));
  }
  return Join(records, data, max_size);
}
