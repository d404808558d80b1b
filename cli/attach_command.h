// f3 attach and f3 detach: declared apart from the other subcommands (commands.h).
#ifndef F3_CLI_ATTACH_COMMAND_H_
#define F3_CLI_ATTACH_COMMAND_H_

namespace CLI {
class App;
}

namespace f3::cli {

void AddAttach(CLI::App* app, int* exit_code);
void AddDetach(CLI::App* app, int* exit_code);

}  // namespace f3::cli

#endif  // F3_CLI_ATTACH_COMMAND_H_
