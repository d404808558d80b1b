#include "hwalloc/model/function_set.h"

#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

namespace f3::hwmodel {

Result<std::vector<Function>> ParseFunctionSet(std::string_view text, const std::string& bin) {
  constexpr std::string_view kBin = "@bin/";
  std::vector<Function> functions;
  std::set<std::string> names;
  std::istringstream lines{std::string(text)};
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    std::istringstream words(line.substr(0, line.find('#')));
    Function function;
    if (!(words >> function.name)) continue;
    words >> function.language;
    for (std::string word; words >> word;) {
      if (word.starts_with(kBin)) word = bin + "/" + word.substr(kBin.size());
      function.command.push_back(word);
    }
    std::string where = "line " + std::to_string(number);
    if (function.command.empty()) {
      return Status::InvalidArgument(where + " is not NAME LANGUAGE COMMAND...");
    }
    if (!names.insert(function.name).second) {
      return Status::InvalidArgument(where + " names " + function.name + " again");
    }
    functions.push_back(std::move(function));
  }
  if (functions.empty()) return Status::InvalidArgument("it names no function");
  return functions;
}

Result<std::vector<Function>> ReadFunctionSet(const std::string& path, const std::string& bin) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Status::NotFound("there is no list of functions " + path);
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  auto functions = ParseFunctionSet(text, bin);
  if (!functions.ok()) return functions.status().WithContext(path);
  return functions;
}

}  // namespace f3::hwmodel
