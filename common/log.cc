#include "common/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <memory>

namespace f3 {

Status InitLog(const std::string& daemon, const std::string& level, const std::string& file) {
  auto parsed = spdlog::level::from_str(level);
  if (parsed == spdlog::level::off && level != "off") {
    return Status::BadConfig("log level \"" + level +
                             "\" is unknown; use trace, debug, info, warn or error");
  }
  std::shared_ptr<spdlog::sinks::sink> sink;
  try {
    if (file.empty()) {
      sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    } else {
      sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(file);
    }
  } catch (const spdlog::spdlog_ex& error) {
    return Status::BadConfig("cannot open the log " + file + ": " + error.what());
  }
  auto logger = std::make_shared<spdlog::logger>(daemon, std::move(sink));
  logger->set_level(parsed);
  logger->flush_on(spdlog::level::info);
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%f%z %l %n %t %v");
  spdlog::set_default_logger(std::move(logger));
  return Status();
}

}  // namespace f3
