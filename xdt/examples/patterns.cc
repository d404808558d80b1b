// Scatter, gather and broadcast between processes: a parent splits its standard input among workers
// that it forks, each of which counts the lines that hold a word that was broadcast to all; the
// parent gathers the counts.
//
//   xdt_patterns WORKERS WORD [SOCKET...] < text      prints the number of lines
//
// Worker i uses the i-th socket (in turn): brokers of several nodes.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "xdt/libxdt/xdt_patterns.hpp"

namespace {

std::span<const std::byte> Bytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

long CountLines(const std::string& text, const std::string& word) {
  long count = 0;
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = std::min(text.find('\n', at), text.size());
    if (text.substr(at, end - at).find(word) != std::string::npos) ++count;
    at = end + 1;
  }
  return count;
}

// What a worker is invoked with, and what it answers, are references.
std::string Work(const std::string& socket, const std::string& part, const std::string& word) {
  f3xdt::Client client(socket);
  const long count = CountLines(client.Get(part).text(), client.Get(word).text());
  return f3xdt::OneToOne(&client, Bytes(std::to_string(count)));
}

// Runs a worker in a process of its own; the reference that it answers with.
std::string Invoke(const std::string& socket, const std::string& part, const std::string& word) {
  int ends[2];
  if (::pipe(ends) != 0) return "";
  const pid_t child = ::fork();
  if (child == 0) {
    int code = 1;
    try {
      const std::string answer = Work(socket, part, word);
      code = ::write(ends[1], answer.data(), answer.size()) > 0 ? 0 : 1;
    } catch (const f3xdt::Error& error) {
      std::fprintf(stderr, "worker: %s\n", error.what());
    }
    ::_exit(code);
  }
  ::close(ends[1]);
  char answer[XDT_REF_CHARS] = {};
  const ssize_t n = ::read(ends[0], answer, sizeof(answer) - 1);
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  return n > 0 ? std::string(answer, static_cast<size_t>(n)) : "";
}

// Parts that end at line ends.
std::vector<std::string> SplitLines(const std::string& text, size_t parts) {
  std::vector<std::string> out;
  size_t at = 0;
  for (size_t i = 1; i <= parts; ++i) {
    size_t end = i == parts ? text.size() : std::max(at, text.size() * i / parts);
    while (end > at && end < text.size() && text[end - 1] != '\n') ++end;
    out.push_back(text.substr(at, end - at));
    at = end;
  }
  return out;
}

int Run(size_t workers, const std::string& word, const std::vector<std::string>& sockets) {
  const std::string text((std::istreambuf_iterator<char>(std::cin)),
                         std::istreambuf_iterator<char>());
  f3xdt::Client client(sockets[0]);
  const std::string for_all =
      f3xdt::Broadcast(&client, Bytes(word), static_cast<uint32_t>(workers));
  std::vector<std::string> answers;
  size_t i = 0;
  for (const std::string& part : SplitLines(text, workers)) {
    const std::string reference = f3xdt::OneToOne(&client, Bytes(part));
    answers.push_back(Invoke(sockets[i++ % sockets.size()], reference, for_all));
  }
  long sum = 0;
  for (const f3xdt::View& view : f3xdt::Gather(&client, answers)) sum += std::stol(view.text());
  std::printf("%ld\n", sum);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || std::atoi(argv[1]) < 1) {
    std::fprintf(stderr, "usage: xdt_patterns WORKERS WORD [SOCKET...] < text\n");
    return 2;
  }
  std::vector<std::string> sockets(argv + 3, argv + argc);
  if (sockets.empty()) sockets.emplace_back();
  try {
    return Run(static_cast<size_t>(std::atoi(argv[1])), argv[2], sockets);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "xdt_patterns: %s\n", error.what());
    return 1;
  }
}
