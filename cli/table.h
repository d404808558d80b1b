// Table: aligned columns for people, and Bar, a part of a whole drawn in ten characters. Values,
// not thread-safe. Numbers are aligned right, everything else left; widths count characters, not
// bytes.
#ifndef F3_CLI_TABLE_H_
#define F3_CLI_TABLE_H_

#include <cstdint>
#include <string>
#include <vector>

namespace f3::cli {

class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}
  // Missing cells are empty, surplus ones are refused by assertion.
  void Add(std::vector<std::string> row);
  bool empty() const { return rows_.empty(); }
  // Each line ends in a newline; no trailing blanks. `indent` blanks before each.
  std::string ToString(int indent = 0) const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

// "███████░░░ 70 %"; "-" when `whole` is 0.
std::string Bar(uint64_t part, uint64_t whole);
// "1.43", "12.6", "385": three significant digits.
std::string Short(double value);
// "3.2 s", "2 min 5 s", "14 ms".
std::string FormatMicros(int64_t micros);

}  // namespace f3::cli

#endif  // F3_CLI_TABLE_H_
