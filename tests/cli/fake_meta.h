// A metadata client that answers from a function. Not thread-safe.
#ifndef F3_TESTS_CLI_FAKE_META_H_
#define F3_TESTS_CLI_FAKE_META_H_

#include <functional>
#include <utility>

#include "metadata/client.h"

namespace f3::cli {

class FakeMeta : public meta::MetaClient {
 public:
  using Handler = std::function<Status(const meta::Request&, meta::Reply*)>;
  explicit FakeMeta(Handler handler) : handler_(std::move(handler)) {}
  Status Call(meta::Request request, meta::Reply* reply) override {
    return handler_(request, reply);
  }
  void CallAsync(meta::Request request, std::function<void(Status, meta::Reply)> done) override {
    meta::Reply reply;
    Status status = handler_(request, &reply);
    done(status, reply);
  }
  SessionId session() const override { return 0; }
  NodeId node() const override { return 0; }
  bool connected() const override { return true; }
  void Shutdown() override {}

 private:
  Handler handler_;
};

}  // namespace f3::cli

#endif  // F3_TESTS_CLI_FAKE_META_H_
