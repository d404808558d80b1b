// Runs a program and says what it cost, for `f3 bench hwalloc`. Small on purpose: Linux counts the
// memory of the process that starts a program into the program's peak, so a large one would hide
// what is to be measured.
//
//   measure_process LIBRARY PROGRAM [ARGUMENT...]
//
// Starts PROGRAM with LD_PRELOAD=LIBRARY ("-": none) and its output thrown away. Prints wall, user
// and system time in microseconds, the peak of resident memory in KiB, and the wait status.
#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace {

long long Micros(const timeval& time) { return time.tv_sec * 1'000'000LL + time.tv_usec; }

long long Now() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000LL + now.tv_nsec / 1000;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: measure_process LIBRARY PROGRAM [ARGUMENT...]\n");
    return 2;
  }
  if (std::strcmp(argv[1], "-") == 0) {
    ::unsetenv("LD_PRELOAD");
  } else {
    ::setenv("LD_PRELOAD", argv[1], 1);
  }
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  pid_t pid = 0;
  long long start = Now();
  int error = ::posix_spawnp(&pid, argv[2], &actions, nullptr, argv + 2, environ);
  if (error != 0) {
    std::fprintf(stderr, "measure_process: cannot start %s: %s\n", argv[2], std::strerror(error));
    return 1;
  }
  int status = 0;
  rusage usage{};
  if (::wait4(pid, &status, 0, &usage) != pid) return 1;
  std::printf("%lld %lld %lld %ld %d\n", Now() - start, Micros(usage.ru_utime),
              Micros(usage.ru_stime), usage.ru_maxrss, status);
  return 0;
}
