// One operation at the metadata server, with the reply as a result. Thread-safe as MetaClient is.
#ifndef F3_CLI_CALL_META_H_
#define F3_CLI_CALL_META_H_

#include <utility>

#include "common/status.h"
#include "metadata/client.h"

namespace f3::cli {

// As root, without a session.
inline Result<meta::Reply> CallMeta(meta::MetaClient* client, meta::Request request) {
  meta::Reply reply;
  F3_RETURN_IF_ERROR(client->Call(std::move(request), &reply));
  return reply;
}

}  // namespace f3::cli

#endif  // F3_CLI_CALL_META_H_
