#include "bench/faas.h"

#include "bench/gateway_process.h"

namespace f3::bench {

Result<Report> RunFaas(const Options& options) {
  F3_RETURN_IF_ERROR(CheckSandboxes(options, 2));
  Report report{"faas", {}, nlohmann::json::object()};
  // The chains first: they start a process, which wants a process with one thread.
  F3_RETURN_IF_ERROR(MeasureChains(options, &report));
  F3_RETURN_IF_ERROR(MeasureStarts(options, &report));
  return report;
}

}  // namespace f3::bench
