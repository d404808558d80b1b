// A key-value store in memory, as a function that keeps sessions uses it: parses requests, sets,
// gets, expires and deletes values. Reads the web server's log as its requests.
#include <cstdio>
#include <fstream>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

struct Entry {
  std::string value;
  std::list<std::string>::iterator age;
};

class Store {
 public:
  explicit Store(size_t capacity) : capacity_(capacity) {}

  void Set(const std::string& key, std::string value) {
    auto found = entries_.find(key);
    if (found != entries_.end()) {
      ages_.erase(found->second->age);
      entries_.erase(found);
    }
    ages_.push_front(key);
    auto entry = std::make_unique<Entry>();
    entry->value = std::move(value);
    entry->age = ages_.begin();
    entries_.emplace(key, std::move(entry));
    if (entries_.size() <= capacity_) return;
    entries_.erase(ages_.back());
    ages_.pop_back();
  }

  const std::string* Get(const std::string& key) {
    auto found = entries_.find(key);
    if (found == entries_.end()) return nullptr;
    ages_.splice(ages_.begin(), ages_, found->second->age);
    return &found->second->value;
  }

  size_t size() const { return entries_.size(); }

 private:
  const size_t capacity_;
  std::list<std::string> ages_;  // the most recently used first
  std::unordered_map<std::string, std::unique_ptr<Entry>> entries_;
};

std::vector<std::string> Words(const std::string& line) {
  std::vector<std::string> words;
  size_t at = 0;
  while (at < line.size()) {
    size_t end = line.find(' ', at);
    if (end == std::string::npos) end = line.size();
    if (end > at) words.push_back(line.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

}  // namespace

int main() {
  Store store(6000);
  size_t hits = 0, requests = 0, bytes = 0;
  for (int round = 0; round < 3; ++round) {
    std::ifstream log("data/access.log");
    for (std::string line; std::getline(log, line);) {
      std::vector<std::string> words = Words(line);
      if (words.size() < 10) continue;
      ++requests;
      std::string session = "session:" + words[0];
      store.Set("page:" + words[6], words[8] + " " + words[9]);
      const std::string* value = store.Get(session);
      if (value == nullptr) {
        store.Set(session, words[6]);
        continue;
      }
      ++hits;
      bytes += value->size();
      store.Set(session, value->size() < 200 ? *value + "," + words[6] : words[6]);
    }
  }
  std::printf("%zu %zu %zu %zu\n", requests, hits, bytes, store.size());
  return requests == 0;
}
