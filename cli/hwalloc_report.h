// What `f3 hwalloc` prints of the model's reports: tables for people, JSON for scripts. Every cycle
// in them is an emulated one and is labelled so. Functions only; thread-safe.
#ifndef F3_CLI_HWALLOC_REPORT_H_
#define F3_CLI_HWALLOC_REPORT_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hwalloc/model/report.h"

namespace f3::cli {

// One modelled function of a set.
struct ModelledFunction {
  std::string name;
  std::string language;
  hwmodel::Report report;
};

std::string ModelText(const std::string& title, const hwmodel::Report& report);
nlohmann::json ModelJson(const hwmodel::Report& report);

// The table of a set beside the paper's: one row each, means by language and of the languages that
// the paper has ("python", "c++"), then the paper's row.
std::string SetText(const std::vector<ModelledFunction>& functions);
nlohmann::json SetJson(const std::vector<ModelledFunction>& functions);

}  // namespace f3::cli

#endif  // F3_CLI_HWALLOC_REPORT_H_
