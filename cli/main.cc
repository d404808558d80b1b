// The one binary: everything is in the subcommands.
#include "cli/commands.h"

int main(int argc, char** argv) { return f3::cli::RunMain(argc, argv); }
