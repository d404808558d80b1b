// What every command exits with. Scripts rely on it.
#ifndef F3_CLI_EXIT_CODES_H_
#define F3_CLI_EXIT_CODES_H_

namespace f3::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;  // it was understood and did not work
inline constexpr int kExitUsage = 2;    // it was not understood: flags, configuration

}  // namespace f3::cli

#endif  // F3_CLI_EXIT_CODES_H_
