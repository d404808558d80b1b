// The compose-and-read path of a social network, in one process: posts go to the followers'
// timelines, timelines are read, and every message between the services is packed and unpacked.
#include <cstdio>
#include <deque>
#include <fstream>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

struct Post {
  int author = 0;
  std::string text;
  std::vector<std::string> tags;
};

using Fields = std::vector<std::pair<std::string, std::string>>;

// "key=value;" for each field.
std::string Pack(const Fields& fields) {
  std::string out;
  for (const auto& [key, value] : fields) out += key + "=" + value + ";";
  return out;
}

Fields Unpack(const std::string& message) {
  Fields fields;
  for (size_t at = 0; at < message.size();) {
    size_t equals = message.find('=', at);
    size_t end = message.find(';', equals);
    fields.emplace_back(message.substr(at, equals - at),
                        message.substr(equals + 1, end - equals - 1));
    at = end + 1;
  }
  return fields;
}

std::vector<std::string> Tags(const std::string& text) {
  std::vector<std::string> tags;
  for (size_t at = text.find('/'); at != std::string::npos; at = text.find('/', at + 1)) {
    tags.push_back(text.substr(at + 1, 12));
  }
  return tags;
}

class Network {
 public:
  bool Load(const char* path) {
    std::ifstream file(path);
    for (int a, b; file >> a >> b;) followers_[a].push_back(b);
    return !followers_.empty();
  }

  void Compose(int author, const std::string& text) {
    Fields fields = Unpack(Pack({{"author", std::to_string(author)}, {"text", text}}));
    auto post = std::make_shared<Post>();
    post->author = std::stoi(fields[0].second);
    post->text = fields[1].second;
    post->tags = Tags(post->text);
    for (int follower : followers_[author]) {
      auto& timeline = timelines_[follower];
      timeline.push_front(post);
      if (timeline.size() > 20) timeline.pop_back();
    }
  }

  size_t Read(int user) {
    size_t bytes = 0;
    for (const auto& post : timelines_[user]) {
      bytes += Unpack(Pack({{"author", std::to_string(post->author)},
                            {"text", post->text},
                            {"tags", std::to_string(post->tags.size())}}))
                   .size();
    }
    return bytes;
  }

  size_t users() const { return followers_.size(); }

 private:
  std::unordered_map<int, std::vector<int>> followers_;
  std::unordered_map<int, std::deque<std::shared_ptr<Post>>> timelines_;
};

}  // namespace

int main() {
  Network network;
  if (!network.Load("data/graph.txt")) return 1;
  std::ifstream log("data/access.log");
  size_t posts = 0, fields = 0;
  for (std::string line; std::getline(log, line); ++posts) {
    int user = static_cast<int>(posts * 7 % network.users());
    network.Compose(user, line);
    fields += network.Read(static_cast<int>(posts * 13 % network.users()));
  }
  std::printf("%zu %zu %zu\n", network.users(), posts, fields);
  return 0;
}
