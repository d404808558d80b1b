// The command line as a whole: which subcommands there are, help, man pages, exit codes.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <sstream>

#include "cli/commands.h"
#include "cli/exit_codes.h"
#include "cli/settings.h"

namespace f3::cli {
namespace {

constexpr const char* kVersion = "f3 0.1.0";
constexpr const char* kDescription =
    "F3: a distributed file system for serverless functions.\n"
    "Start with `f3 demo`, or with `f3 up` for a cluster on this machine.";

// Text in roff: a line must not begin with a dot or a quote, and backslashes count.
std::string Roff(const std::string& text) {
  std::string out;
  bool begins = true;
  for (char c : text) {
    if (begins && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out.push_back(c);
    }
    begins = c == '\n';
  }
  return out;
}

std::string Upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

// "f3", "f3-node-drain".
std::string FullName(const CLI::App& command, const char* separator) {
  const CLI::App* parent = command.get_parent();
  return parent == nullptr ? command.get_name()
                           : FullName(*parent, separator) + separator + command.get_name();
}

std::string Synopsis(const CLI::App& command) {
  std::string text = ".B " + FullName(command, " ");
  if (!command.get_options([](const CLI::Option* o) { return o->nonpositional(); }).empty()) {
    text += " \\fR[OPTIONS]";
  }
  for (const auto* option :
       command.get_options([](const CLI::Option* o) { return o->get_positional(); })) {
    text += " \\fI" + option->get_name(true) + "\\fR";
  }
  if (!command.get_subcommands([](const CLI::App*) { return true; }).empty()) {
    text += " \\fR[COMMAND]";
  }
  return text + "\n";
}

// Folds at blanks so that no line is longer than `width` columns.
std::string Fold(const std::string& text, size_t width, const std::string& indent) {
  std::string out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::string folded = indent;
    size_t column = indent.size();
    std::istringstream words(line);
    for (std::string word; words >> word;) {
      if (column + word.size() + 1 > width && column > indent.size()) {
        folded += "\n" + indent;
        column = indent.size();
      }
      if (column > indent.size()) {
        folded += " ";
        ++column;
      }
      folded += word;
      column += word.size();
    }
    out += folded + "\n";
  }
  return out;
}

// Descriptions are a summary line and paragraphs; lists of commands show the summaries.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_description(const CLI::App* app) const override {
    return Fold(app->get_description(), 100, "");
  }
  std::string make_subcommand(const CLI::App* sub) const override {
    std::string summary = sub->get_description();
    std::string name = "  " + sub->get_name();
    name.resize(std::max<size_t>(name.size() + 1, 12), ' ');
    return name + summary.substr(0, summary.find('\n')) + "\n";
  }
  std::string make_option_desc(const CLI::Option* option) const override {
    std::string out = Fold(option->get_description(), 68, "");  // the caller indents
    return out.substr(0, out.find_last_not_of(" \n") + 1);
  }
};

const CLI::App* FindCommand(const CLI::App& app, const std::vector<std::string>& words) {
  const CLI::App* at = &app;
  for (const auto& word : words) {
    const CLI::App* next = nullptr;
    for (const auto* sub : at->get_subcommands([](const CLI::App*) { return true; })) {
      if (sub->get_name() == word) next = sub;
    }
    if (next == nullptr) return nullptr;
    at = next;
  }
  return at;
}

}  // namespace

std::string ManPage(const CLI::App& command) {
  std::ostringstream out;
  std::string name = FullName(command, "-");
  std::string summary = command.get_description();
  std::string rest;
  if (size_t end = summary.find('\n'); end != std::string::npos) {
    rest = summary.substr(end + 1);
    summary = summary.substr(0, end);
  }
  out << ".TH " << Upper(name) << " 1 \"\" \"" << kVersion << "\" \"F3\"\n";
  out << ".SH NAME\n" << Roff(name) << " \\- " << Roff(summary) << "\n";
  out << ".SH SYNOPSIS\n" << Synopsis(command);
  if (!rest.empty()) out << ".SH DESCRIPTION\n" << Roff(rest) << "\n";
  auto options = command.get_options([](const CLI::Option* o) { return !o->get_group().empty(); });
  if (!options.empty()) {
    out << ".SH OPTIONS\n";
    for (const auto* option : options) {
      out << ".TP\n.B " << Roff(option->get_name(option->get_positional(), true));
      if (option->get_type_size() > 0 && option->nonpositional()) {
        out << " \\fI" << Roff(option->get_type_name()) << "\\fR";
      }
      out << "\n" << Roff(option->get_description()) << "\n";
    }
  }
  auto subcommands =
      command.get_subcommands([](const CLI::App* sub) { return !sub->get_group().empty(); });
  if (!subcommands.empty()) {
    out << ".SH COMMANDS\n";
    for (const auto* sub : subcommands) {
      std::string line = sub->get_description();
      out << ".TP\n.B " << Roff(sub->get_name()) << "\n"
          << Roff(line.substr(0, line.find('\n'))) << "\n";
    }
  }
  if (!command.get_footer().empty()) {
    out << ".SH EXAMPLES\n.nf\n" << Roff(command.get_footer().substr(10)) << ".fi\n";
  }
  out << ".SH EXIT STATUS\n0: it worked. 1: it did not, and a message says why. 2: the command "
         "line or "
         "the configuration was not understood.\n";
  return out.str();
}

int Report(const std::string& command, const Status& status) {
  if (status.ok()) return kExitOk;
  std::fprintf(stderr, "f3 %s: %s\n", command.c_str(), status.message().c_str());
  bool usage = status.Is(Code::kBadConfig) || status.Is(Code::kInvalidArgument);
  return usage ? kExitUsage : kExitFailure;
}

void AddExamples(CLI::App* command, const std::vector<Example>& examples) {
  std::string text = "Examples:\n";
  for (const auto& example : examples) {
    text += "  " + std::string(example.line) + "\n      " + example.meaning + "\n";
  }
  command->footer(text);
}

void AddDirFlag(CLI::App* command, std::string* dir) {
  command->add_option("--dir", *dir, "The cluster's directory (default: $F3_DIR, else /var/lib/f3)")
      ->type_name("DIR");
}

void AddJsonFlag(CLI::App* command, bool* json) {
  command->add_flag("--json", *json, "Print one JSON document instead of tables");
}

void AddHelp(CLI::App* app, int* exit_code) {
  struct Options {
    bool man = false;
    std::vector<std::string> words;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app->add_subcommand("help", "Show the help of a command");
  command->add_flag("--man", options->man, "As a man page (roff)");
  command->add_option("COMMAND", options->words, "The command, for example: node drain");
  AddExamples(command, {{"f3 help node drain", "as `f3 node drain --help`"},
                        {"f3 help --man up | man -l -", "the man page of `f3 up`"}});
  command->callback([app, options, exit_code] {
    const CLI::App* about = FindCommand(*app, options->words);
    if (about == nullptr) {
      *exit_code =
          Report("help", Status::InvalidArgument("there is no such command; see `f3 help`"));
      return;
    }
    // Not App::help: of an application in use that is the help of the command in use.
    std::string help =
        about->get_formatter()->make_help(about, FullName(*about, " "), CLI::AppFormatMode::Normal);
    std::fputs(options->man ? ManPage(*about).c_str() : help.c_str(), stdout);
  });
}

int RunMain(int argc, char** argv) {
  int exit_code = kExitOk;
  CLI::App app(kDescription, "f3");
  app.formatter(std::make_shared<HelpFormatter>());
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(1);
  app.failure_message([](const CLI::App*, const CLI::Error& error) {
    return std::string("f3: ") + error.what() + "\n";
  });
  for (auto* add : {AddUp,     AddDown,   AddDestroy, AddStatus,  AddTop,  AddStat,
                    AddLocate, AddVolume, AddMount,   AddNode,    AddMeta, AddPut,
                    AddGet,    AddRef,    AddAttach,  AddDetach,  AddFsck, AddDoctor,
                    AddDemo,   AddBench,  AddHwalloc, AddGateway, AddHelp, AddSupervise}) {
    add(&app, &exit_code);
  }
  // Installed under this name, it is the helper that mount(8) runs for -t fuse.f3.
  std::vector<char*> words(argv, argv + argc);
  std::string mount = "mount";
  if (argc > 0 && std::filesystem::path(argv[0]).filename() == "mount.fuse.f3") {
    words.insert(words.begin() + 1, mount.data());
  }
  // A last resort: the libraries that parse and print may throw, our own code does not.
  try {
    app.parse(static_cast<int>(words.size()), words.data());
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    app.exit(error);
    if (argc > 1 && argv[1][0] != '-') {
      std::vector<std::string> names;
      for (const auto* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
        names.push_back(sub->get_name());
      }
      bool known = std::find(names.begin(), names.end(), argv[1]) != names.end();
      std::string near = Nearest(argv[1], names);
      if (known) {
        std::fprintf(stderr, "See `f3 %s --help`.\n", argv[1]);
      } else if (!near.empty()) {
        std::fprintf(stderr, "Did you mean `f3 %s`?\n", near.c_str());
      }
    } else {
      std::fprintf(stderr, "See `f3 --help`.\n");
    }
    return kExitUsage;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "f3: %s\n", error.what());
    return kExitFailure;
  }
  return exit_code;
}

}  // namespace f3::cli
