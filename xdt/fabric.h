// libfabric, wrapped: one Fabric per process, and Endpoints with a completion queue each.
//
// Used by the engine's progress thread alone, but for what is constant. Endpoints must be gone
// before their Fabric.
#ifndef F3_XDT_FABRIC_H_
#define F3_XDT_FABRIC_H_

#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_tagged.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "common/status.h"

namespace f3::xdt {

template <typename T>
struct FidClose {
  void operator()(T* object) const { fi_close(&object->fid); }
};
template <typename T>
using FidPtr = std::unique_ptr<T, FidClose<T>>;

class Fabric {
 public:
  // `region` is registered once, for all endpoints. NoDevice names the provider. Sets defaults in
  // the environment, so it is best called before there are threads that read it.
  static Result<std::unique_ptr<Fabric>> Open(const std::string& provider,
                                              const std::string& bind_address,
                                              std::span<std::byte> region);
  ~Fabric();
  Fabric(const Fabric&) = delete;

  fid_fabric* fabric() const { return fabric_.get(); }

 private:
  friend class Endpoint;
  Fabric() = default;

  fi_info* info_ = nullptr;
  FidPtr<fid_fabric> fabric_;
  FidPtr<fid_domain> domain_;
  FidPtr<fid_mr> region_;
  std::span<std::byte> region_bytes_;
};

// One operation given to an endpoint. Owned by the endpoint until it is over.
struct FabricOp {
  fi_context2 context = {};  // first: libfabric hands back its address
  // Called once, when the operation is over; `bytes` is what was received.
  std::function<void(Status, size_t bytes)> done;
  std::vector<std::byte> message;  // what a sent message consists of
  bool receive = false;
};

class Endpoint {
 public:
  using Receive = std::function<void(std::span<const std::byte>)>;
  // Messages go to `receive`, from within Poll.
  static Result<std::unique_ptr<Endpoint>> Open(Fabric* fabric, int receive_buffers,
                                                Receive receive);
  // Ends every operation, without calling `done` of any.
  ~Endpoint();

  // Whether Resolve could take it.
  static bool IsAddress(const std::string& text);
  // "IP:PORT", or "raw:" and hexadecimal digits where addresses are of another kind.
  const std::string& address() const { return address_; }
  int wait_fd() const { return wait_fd_; }
  // Nothing that it was given is under way.
  bool idle() const { return ops_.empty(); }
  fid* queue() const { return &queue_->fid; }

  // The number of a peer, made known when it is new. InvalidArgument when it is no address.
  Result<fi_addr_t> Resolve(const std::string& address);

  // Each returns Again when it has to be tried later (a connection is being made), and calls `done`
  // only when it returned OK. Bytes lie in the fabric's region and stay until `done`.
  Status SendMessage(fi_addr_t to, const std::string& message,
                     std::function<void(Status, size_t)> done);
  Status SendBytes(fi_addr_t to, uint64_t tag, std::span<const std::byte> bytes,
                   std::function<void(Status, size_t)> done);
  // The number names it for Cancel.
  Result<FabricOp*> ReceiveBytes(uint64_t tag, std::span<std::byte> into,
                                 std::function<void(Status, size_t)> done);
  // `done` is called, with an error or, when it was too late, with the bytes.
  void Cancel(FabricOp* op);

  // Handles what is over, not always all of it; returns how much that was.
  int Poll();

 private:
  explicit Endpoint(Fabric* fabric) : fabric_(fabric) {}
  Status Build(int receive_buffers);
  Status PostMessageBuffer(size_t index);
  void Finish(FabricOp* op, const Status& status, size_t bytes);
  void DrainErrors();
  FabricOp* NewOp(std::function<void(Status, size_t)> done);

  Fabric* const fabric_;
  Receive receive_;
  std::string address_;
  int wait_fd_ = -1;
  FidPtr<fid_av> addresses_;
  FidPtr<fid_cq> queue_;
  FidPtr<fid_ep> endpoint_;
  std::vector<std::byte> message_buffers_;
  FidPtr<fid_mr> message_region_;
  void* message_desc_ = nullptr;
  struct MessageSlot {
    fi_context2 context = {};
    bool posted = false;
  };
  std::vector<std::unique_ptr<MessageSlot>> slots_;
  std::unordered_map<std::string, fi_addr_t> known_;
  std::unordered_set<FabricOp*> ops_;
};

}  // namespace f3::xdt

#endif  // F3_XDT_FABRIC_H_
