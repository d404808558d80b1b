#include "openwhisk_plugin/gateway/gateway.h"

#include <spdlog/spdlog.h>

#include <filesystem>
#include <utility>

#include "metadata/kv_store.h"

namespace f3::openwhisk {

Result<std::unique_ptr<Gateway>> Gateway::Start(const GatewayOptions& options,
                                                const ContainerFactory& factory) {
  std::unique_ptr<Gateway> gateway(new Gateway());
  F3_ASSIGN_OR_RETURN(gateway->keys_, AuthKeys::Open(options.auth_file));
  std::error_code error;
  std::filesystem::create_directories(options.data_dir, error);
  if (error) return Status::FromErrno(error.value(), "make " + options.data_dir);
  F3_ASSIGN_OR_RETURN(auto kv, meta::OpenLevelDbKvStore(options.data_dir));
  F3_ASSIGN_OR_RETURN(gateway->store_, Store::Open(std::move(kv), options.store));
  if (options.remove_leftovers) F3_RETURN_IF_ERROR(options.remove_leftovers());
  gateway->engine_ = std::make_unique<Engine>(options.engine, gateway->store_.get(), factory);
  gateway->engine_->DetachLeftovers();
  gateway->api_ = std::make_unique<RestApi>(gateway->store_.get(), gateway->engine_.get(),
                                            gateway->keys_.get(), options.store.clock);
  F3_ASSIGN_OR_RETURN(gateway->http_, HttpServer::Start(options.http, gateway->api_.get()));
  return gateway;
}

Gateway::~Gateway() { Stop(); }

void Gateway::Stop() {
  if (http_ == nullptr) return;
  http_->StopAccepting();
  engine_->Shutdown();
  http_->Stop();
  Status status = store_->Flush();
  if (!status.ok()) spdlog::error("the store is not synced: {}", status.message());
  http_.reset();
}

}  // namespace f3::openwhisk
