// What somebody probably meant: for messages on names that are not known. Thread-safe.
#ifndef F3_COMMON_NEAREST_H_
#define F3_COMMON_NEAREST_H_

#include <string>
#include <vector>

namespace f3 {

// The one of `known` that `word` was most probably meant to be; empty when none is near.
std::string Nearest(const std::string& word, const std::vector<std::string>& known);

}  // namespace f3

#endif  // F3_COMMON_NEAREST_H_
