// Logging: spdlog's default logger, set up once by each daemon's main.
//
// Libraries log through spdlog::info/warn/error with a sentence that names node, path or object;
// secrets and tokens never appear. Thread-safe.
#ifndef F3_COMMON_LOG_H_
#define F3_COMMON_LOG_H_

#include <spdlog/spdlog.h>

#include <string>

#include "common/status.h"

namespace f3 {

// `level`: trace, debug, info, warn or error. `file`: empty for standard error.
Status InitLog(const std::string& daemon, const std::string& level, const std::string& file);

}  // namespace f3

#endif  // F3_COMMON_LOG_H_
