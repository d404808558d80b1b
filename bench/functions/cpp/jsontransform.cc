// Parses a JSON document, filters and reshapes its records, and serialises the answer.
#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

int main() {
  std::ifstream file("data/records.json");
  nlohmann::json records = nlohmann::json::parse(file, nullptr, false);
  if (!records.is_array()) return 1;
  std::map<std::string, nlohmann::json> modules;
  for (const auto& record : records) {
    if (!record["public"].get<bool>()) continue;
    nlohmann::json& module = modules[record["module"].get<std::string>()];
    module["functions"].push_back(
        {{"name", record["name"]},
         {"arity", record["arguments"].size()},
         {"end", record["line"].get<int>() + record["lines"].get<int>()}});
  }
  nlohmann::json answer = modules;
  std::string text = answer.dump();
  std::printf("%zu %zu %zu\n", records.size(), modules.size(), text.size());
  return 0;
}
