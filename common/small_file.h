// Whole small files of text: configuration, notes for a next start. Thread-safe. What promises
// durability uses Env instead.
#ifndef F3_COMMON_SMALL_FILE_H_
#define F3_COMMON_SMALL_FILE_H_

#include <string>

#include "common/status.h"

namespace f3 {

// Writes a file and renames it into place. Mode 0644.
Status WriteFile(const std::string& path, const std::string& text);
// NotFound when it cannot be opened.
Result<std::string> ReadFile(const std::string& path);

}  // namespace f3

#endif  // F3_COMMON_SMALL_FILE_H_
