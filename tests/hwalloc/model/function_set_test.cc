// The list of functions.
#include "hwalloc/model/function_set.h"

#include <gtest/gtest.h>

#include "tests/common/status_matchers.h"

namespace f3::hwmodel {
namespace {

TEST(FunctionSet, LinesCommentsAndPlaceholders) {
  auto set = ParseFunctionSet(
      "# a comment\n\nhtml  python /usr/bin/python3 a.py # why\n"
      "kv c++ @bin/fn_kv --fast\n",
      "/build/bin");
  ASSERT_OK(set);
  ASSERT_EQ(set->size(), 2u);
  EXPECT_EQ((*set)[0].name, "html");
  EXPECT_EQ((*set)[0].command, (std::vector<std::string>{"/usr/bin/python3", "a.py"}));
  EXPECT_EQ((*set)[1].language, "c++");
  EXPECT_EQ((*set)[1].command, (std::vector<std::string>{"/build/bin/fn_kv", "--fast"}));
}

TEST(FunctionSet, WhatIsWrongIsNamed) {
  auto set = ParseFunctionSet("a python x\nb python\n", "");
  EXPECT_CODE(set, kInvalidArgument);
  EXPECT_NE(set.status().message().find("line 2"), std::string::npos);
  EXPECT_CODE(ParseFunctionSet("a python x\na python y\n", ""), kInvalidArgument);
  EXPECT_CODE(ParseFunctionSet("# nothing\n", ""), kInvalidArgument);
  EXPECT_CODE(ReadFunctionSet("/nonexistent/functions.txt", ""), kNotFound);
}

}  // namespace
}  // namespace f3::hwmodel
