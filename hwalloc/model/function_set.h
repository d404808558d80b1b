// FunctionSet: the list of functions that are recorded and measured, from
// bench/functions/functions.txt. Each line: NAME LANGUAGE COMMAND..., separated by blanks; "#"
// begins a comment. A word that begins with "@bin/" stands for a program beside the f3 binary.
// Commands run in the list's directory.
#ifndef F3_HWALLOC_MODEL_FUNCTION_SET_H_
#define F3_HWALLOC_MODEL_FUNCTION_SET_H_

#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"

namespace f3::hwmodel {

struct Function {
  std::string name;
  std::string language;  // "python", "c++", "node"
  std::vector<std::string> command;
};

// InvalidArgument names the line that is wrong.
Result<std::vector<Function>> ParseFunctionSet(std::string_view text, const std::string& bin);
// Of a file; its errors name it.
Result<std::vector<Function>> ReadFunctionSet(const std::string& path, const std::string& bin);

}  // namespace f3::hwmodel

#endif  // F3_HWALLOC_MODEL_FUNCTION_SET_H_
