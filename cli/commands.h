// The subcommands. Each Add* declares one on the application: its flags, its help with examples,
// and what runs; the exit code goes to *exit_code. One file per subcommand.
#ifndef F3_CLI_COMMANDS_H_
#define F3_CLI_COMMANDS_H_

#include <string>
#include <vector>

#include "common/status.h"

namespace CLI {
class App;
}

namespace f3::cli {

void AddUp(CLI::App* app, int* exit_code);
void AddDown(CLI::App* app, int* exit_code);
void AddDestroy(CLI::App* app, int* exit_code);
void AddSupervise(CLI::App* app, int* exit_code);
void AddStatus(CLI::App* app, int* exit_code);
void AddTop(CLI::App* app, int* exit_code);
void AddStat(CLI::App* app, int* exit_code);
void AddLocate(CLI::App* app, int* exit_code);
void AddFsck(CLI::App* app, int* exit_code);
void AddDoctor(CLI::App* app, int* exit_code);
void AddVolume(CLI::App* app, int* exit_code);
void AddMount(CLI::App* app, int* exit_code);
void AddMeta(CLI::App* app, int* exit_code);
void AddNode(CLI::App* app, int* exit_code);
void AddDemo(CLI::App* app, int* exit_code);
void AddPut(CLI::App* app, int* exit_code);
void AddGet(CLI::App* app, int* exit_code);
void AddRef(CLI::App* app, int* exit_code);
void AddBench(CLI::App* app, int* exit_code);
void AddHwalloc(CLI::App* app, int* exit_code);
void AddAttach(CLI::App* app, int* exit_code);
void AddDetach(CLI::App* app, int* exit_code);
void AddGateway(CLI::App* app, int* exit_code);
void AddHelp(CLI::App* app, int* exit_code);

// Parses and runs a command line; the exit code of the process.
int RunMain(int argc, char** argv);

// Prints "f3 COMMAND: message" for a failure. The exit code for a status: usage for bad
// configuration and arguments, failure otherwise, OK when it is.
int Report(const std::string& command, const Status& status);

// "Examples:" for --help and the man page; pairs of command line and explanation.
struct Example {
  const char* line;
  const char* meaning;
};
void AddExamples(CLI::App* command, const std::vector<Example>& examples);
// --dir, with the same text everywhere.
void AddDirFlag(CLI::App* command, std::string* dir);
void AddJsonFlag(CLI::App* command, bool* json);

// The man page of a command (section 1) from the text of its --help.
std::string ManPage(const CLI::App& command);

}  // namespace f3::cli

#endif  // F3_CLI_COMMANDS_H_
