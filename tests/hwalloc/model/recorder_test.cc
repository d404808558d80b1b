// What the recorder refuses. That it records is tested end to end (record_test.py).
#include "hwalloc/model/recorder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/common/status_matchers.h"
#include "tests/common/temp_dir.h"

namespace f3::hwmodel {
namespace {

class RecorderTest : public ::testing::Test {
 protected:
  Status Record(const std::vector<std::string>& command) {
    RecordOptions options;
    options.command = command;
    options.output = dir_ / "out.trace";
    options.libraries = dir_.path();  // nothing is there
    Status status = RecordTrace(options).status();
    EXPECT_FALSE(std::filesystem::exists(options.output));
    EXPECT_FALSE(std::filesystem::exists(options.output + ".part"));
    return status;
  }
  std::string MakeProgram(const std::string& contents) {
    std::string path = dir_ / "program";
    std::ofstream(path, std::ios::binary) << contents;
    EXPECT_EQ(::chmod(path.c_str(), 0755), 0);
    return path;
  }

  TempDir dir_;
};

TEST_F(RecorderTest, NeedsAProgram) {
  EXPECT_CODE(Record({}), kInvalidArgument);
  EXPECT_CODE(Record({"/no/such/program"}), kNotFound);
  EXPECT_CODE(Record({"no-such-program-in-path"}), kNotFound);
  EXPECT_CODE(Record({dir_.path()}), kNotFound);  // a directory
}

TEST_F(RecorderTest, RefusesWhatCannotBeWatched) {
  Status status = Record({MakeProgram("#!/bin/sh\necho\n")});
  EXPECT_CODE(status, kInvalidArgument);
  EXPECT_NE(status.message().find("script"), std::string::npos);
  EXPECT_CODE(Record({MakeProgram("nothing that runs")}), kInvalidArgument);
  EXPECT_CODE(Record({MakeProgram("")}), kInvalidArgument);
}

TEST_F(RecorderTest, NamesTheMissingLibraryOrEmulator) {
  Status status = Record({"/bin/true"});
  EXPECT_CODE(status, kNotFound);
}

}  // namespace
}  // namespace f3::hwmodel
