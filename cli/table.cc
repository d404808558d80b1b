#include "cli/table.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdio>
#include <sstream>

namespace f3::cli {
namespace {

// UTF-8 continuation bytes take no column.
size_t Width(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

// "12", "1.5 GiB", "2 min 5 s": a figure, perhaps with short units.
bool IsNumber(const std::string& text) {
  if (text.empty() || text.find_first_of("0123456789") != 0) return false;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    bool figure = word.find_first_not_of("0123456789.,") == std::string::npos;
    if (!figure && word.size() > 3) return false;
  }
  return true;
}

}  // namespace

void Table::Add(std::vector<std::string> row) {
  assert(row.size() <= header_.size());
  row.resize(header_.size());
  rows_.push_back(std::move(row));
}

std::string Table::ToString(int indent) const {
  std::vector<size_t> widths;
  std::vector<bool> right;
  for (size_t c = 0; c < header_.size(); ++c) {
    size_t width = Width(header_[c]);
    bool numbers = !rows_.empty();
    for (const auto& row : rows_) {
      width = std::max(width, Width(row[c]));
      numbers = numbers && (IsNumber(row[c]) || row[c].empty() || row[c] == "-");
    }
    widths.push_back(width);
    right.push_back(numbers);
  }
  std::string out;
  auto line = [&](const std::vector<std::string>& cells) {
    std::string text(static_cast<size_t>(indent), ' ');
    for (size_t c = 0; c < cells.size(); ++c) {
      std::string pad(widths[c] - Width(cells[c]), ' ');
      if (c > 0) text += "  ";
      text += right[c] ? pad + cells[c] : cells[c] + pad;
    }
    while (!text.empty() && text.back() == ' ') text.pop_back();
    out += text + "\n";
  };
  line(header_);
  for (const auto& row : rows_) line(row);
  return out;
}

std::string Bar(uint64_t part, uint64_t whole) {
  if (whole == 0) return "-";
  double share = std::min(1.0, static_cast<double>(part) / static_cast<double>(whole));
  int full = static_cast<int>(std::lround(share * 10));
  std::string out;
  for (int i = 0; i < 10; ++i) out += i < full ? "█" : "░";
  char text[16];
  std::snprintf(text, sizeof(text), " %.0f %%", share * 100);
  return out + text;
}

std::string Short(double value) {
  char text[32];
  double size = std::fabs(value);
  std::snprintf(text, sizeof(text), size < 10 ? "%.2f" : size < 100 ? "%.1f" : "%.0f", value);
  return text;
}

std::string FormatMicros(int64_t micros) {
  char text[48];
  double seconds = static_cast<double>(micros) / 1e6;
  if (micros < 1000) {
    std::snprintf(text, sizeof(text), "%lld us", static_cast<long long>(micros));
  } else if (micros < 1'000'000) {
    std::snprintf(text, sizeof(text), "%.0f ms", seconds * 1e3);
  } else if (micros < 60'000'000) {
    std::snprintf(text, sizeof(text), "%.1f s", seconds);
  } else {
    long long whole = static_cast<long long>(seconds);
    std::snprintf(text, sizeof(text), "%lld min %lld s", whole / 60, whole % 60);
  }
  return text;
}

}  // namespace f3::cli
