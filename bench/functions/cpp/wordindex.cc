// Builds an inverted index of a text, line by line, and answers queries of two words with it.
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

namespace {

using Index = std::map<std::string, std::vector<int>>;

std::vector<std::string> Words(const std::string& line) {
  std::vector<std::string> words;
  std::string word;
  for (char c : line + " ") {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      word.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  return words;
}

Index Build(const char* path) {
  Index index;
  std::ifstream text(path);
  int number = 0;
  for (std::string line; std::getline(text, line); ++number) {
    for (const std::string& word : Words(line)) {
      std::vector<int>& lines = index[word];
      if (lines.empty() || lines.back() != number) lines.push_back(number);
    }
  }
  return index;
}

}  // namespace

int main() {
  Index index = Build("data/text.txt");
  size_t found = 0, queries = 0;
  std::string before;
  for (const auto& [word, lines] : index) {
    if (!before.empty()) {
      const std::vector<int>& other = index[before];
      std::vector<int> both;
      std::set_intersection(lines.begin(), lines.end(), other.begin(), other.end(),
                            std::back_inserter(both));
      found += both.size();
      ++queries;
    }
    before = word;
  }
  std::printf("%zu %zu %zu\n", index.size(), queries, found);
  return index.empty();
}
