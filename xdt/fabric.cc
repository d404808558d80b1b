#include "xdt/fabric.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <rdma/fi_errno.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "xdt/wire.h"

namespace f3::xdt {
namespace {

constexpr size_t kMaxPeers = 4096;
constexpr int kCompletionsAtOnce = 64;

Status FromFabric(ssize_t error, const std::string& what) {
  return Status::PeerUnreachable(what + ": " + fi_strerror(static_cast<int>(-error)));
}

// What the providers read from the environment when they are first used. By default each endpoint
// of ofi_rxm posts thousands of receive buffers of 16 KiB, 70 MB; we have an endpoint per peer.
// Whoever sets it otherwise is obeyed.
void BoundProviderMemory() { ::setenv("FI_OFI_RXM_MSG_RX_SIZE", "128", /*overwrite=*/0); }

std::string FormatAddress(const std::byte* bytes, size_t size) {
  sockaddr_storage storage = {};
  if (size <= sizeof(storage)) std::memcpy(&storage, bytes, size);
  char text[INET6_ADDRSTRLEN] = {};
  if (storage.ss_family == AF_INET && size >= sizeof(sockaddr_in)) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(&storage);
    ::inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
    return std::string(text) + ":" + std::to_string(ntohs(in->sin_port));
  }
  if (storage.ss_family == AF_INET6 && size >= sizeof(sockaddr_in6)) {
    const auto* in = reinterpret_cast<const sockaddr_in6*>(&storage);
    ::inet_ntop(AF_INET6, &in->sin6_addr, text, sizeof(text));
    return "[" + std::string(text) + "]:" + std::to_string(ntohs(in->sin6_port));
  }
  std::string raw = "raw:";
  for (size_t i = 0; i < size; ++i) {
    constexpr char kDigits[] = "0123456789abcdef";
    raw += kDigits[std::to_integer<int>(bytes[i]) >> 4];
    raw += kDigits[std::to_integer<int>(bytes[i]) & 15];
  }
  return raw;
}

// Empty when `text` is no address.
std::vector<std::byte> ParseAddress(const std::string& text) {
  std::vector<std::byte> bytes;
  if (text.starts_with("raw:")) {
    for (size_t i = 4; i + 1 < text.size(); i += 2) {
      unsigned value = 0;
      if (std::from_chars(&text[i], &text[i + 2], value, 16).ptr != &text[i + 2]) return {};
      bytes.push_back(static_cast<std::byte>(value));
    }
    return bytes;
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return {};
  uint16_t port = 0;
  const char* end = text.data() + text.size();
  if (std::from_chars(text.data() + colon + 1, end, port).ptr != end || port == 0) return {};
  std::string host = text.substr(0, colon);
  sockaddr_in v4 = {};
  sockaddr_in6 v6 = {};
  if (::inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    bytes.resize(sizeof(v4));
    std::memcpy(bytes.data(), &v4, sizeof(v4));
  } else if (host.size() > 2 && host.front() == '[' &&
             ::inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    bytes.resize(sizeof(v6));
    std::memcpy(bytes.data(), &v6, sizeof(v6));
  }
  return bytes;
}

}  // namespace

Result<std::unique_ptr<Fabric>> Fabric::Open(const std::string& provider,
                                             const std::string& bind_address,
                                             std::span<std::byte> region) {
  std::unique_ptr<Fabric> self(new Fabric);
  self->region_bytes_ = region;
  BoundProviderMemory();
  fi_info* hints = fi_allocinfo();
  if (hints == nullptr) return Status::NoMemory("libfabric's hints");
  hints->ep_attr->type = FI_EP_RDM;
  hints->caps = FI_MSG | FI_TAGGED;
  hints->mode = FI_CONTEXT | FI_CONTEXT2;
  hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_VIRT_ADDR;
  hints->domain_attr->threading = FI_THREAD_DOMAIN;
  hints->domain_attr->control_progress = FI_PROGRESS_MANUAL;
  hints->domain_attr->data_progress = FI_PROGRESS_MANUAL;
  hints->fabric_attr->prov_name = ::strdup(provider.c_str());
  const int error =
      fi_getinfo(FI_VERSION(1, 17), bind_address.c_str(), nullptr, FI_SOURCE, hints, &self->info_);
  fi_freeinfo(hints);
  if (error != 0) {
    return Status::NoDevice("libfabric's provider \"" + provider + "\" cannot be used at " +
                            bind_address + ": " + fi_strerror(-error) +
                            "; `fi_info` lists what can");
  }
  fid_fabric* fabric = nullptr;
  if (int e = fi_fabric(self->info_->fabric_attr, &fabric, nullptr); e != 0) {
    return FromFabric(e, "open the fabric");
  }
  self->fabric_.reset(fabric);
  fid_domain* domain = nullptr;
  if (int e = fi_domain(fabric, self->info_, &domain, nullptr); e != 0) {
    return FromFabric(e, "open the fabric's domain");
  }
  self->domain_.reset(domain);
  if ((self->info_->domain_attr->mr_mode & FI_MR_LOCAL) != 0) {
    fid_mr* mr = nullptr;
    if (int e = fi_mr_reg(domain, region.data(), region.size(), FI_SEND | FI_RECV, 0, 0, 0, &mr,
                          nullptr);
        e != 0) {
      return FromFabric(e, "register the buffers");
    }
    self->region_.reset(mr);
  }
  return self;
}

Fabric::~Fabric() {
  region_.reset();
  domain_.reset();
  fabric_.reset();
  if (info_ != nullptr) fi_freeinfo(info_);
}

Result<std::unique_ptr<Endpoint>> Endpoint::Open(Fabric* fabric, int receive_buffers,
                                                 Receive receive) {
  std::unique_ptr<Endpoint> self(new Endpoint(fabric));
  self->receive_ = std::move(receive);
  F3_RETURN_IF_ERROR(self->Build(receive_buffers));
  return self;
}

Status Endpoint::Build(int receive_buffers) {
  fi_info* info = fabric_->info_;
  fi_av_attr av = {};
  av.type = FI_AV_UNSPEC;
  fid_av* addresses = nullptr;
  if (int e = fi_av_open(fabric_->domain_.get(), &av, &addresses, nullptr); e != 0) {
    return FromFabric(e, "open an address vector");
  }
  addresses_.reset(addresses);
  fi_cq_attr cq = {};
  cq.format = FI_CQ_FORMAT_TAGGED;
  cq.wait_obj = FI_WAIT_FD;
  cq.size = 4096;
  fid_cq* queue = nullptr;
  if (int e = fi_cq_open(fabric_->domain_.get(), &cq, &queue, nullptr); e != 0) {
    return FromFabric(e, "open a completion queue");
  }
  queue_.reset(queue);
  if (int e = fi_control(&queue->fid, FI_GETWAIT, &wait_fd_); e != 0) {
    return FromFabric(e, "wait for completions");
  }
  fid_ep* endpoint = nullptr;
  if (int e = fi_endpoint(fabric_->domain_.get(), info, &endpoint, nullptr); e != 0) {
    return FromFabric(e, "open an endpoint");
  }
  endpoint_.reset(endpoint);
  int e = fi_ep_bind(endpoint, &addresses->fid, 0);
  if (e == 0) e = fi_ep_bind(endpoint, &queue->fid, FI_SEND | FI_RECV);
  if (e == 0) e = fi_enable(endpoint);
  if (e != 0) return FromFabric(e, "start an endpoint");
  std::array<std::byte, kMaxAddressBytes> name;
  size_t size = name.size();
  e = fi_getname(&endpoint->fid, name.data(), &size);
  if (e != 0 || size > name.size()) return FromFabric(e, "name an endpoint");
  address_ = FormatAddress(name.data(), size);
  message_buffers_.resize(static_cast<size_t>(receive_buffers) * kMaxMessageBytes);
  if ((info->domain_attr->mr_mode & FI_MR_LOCAL) != 0) {
    fid_mr* mr = nullptr;
    e = fi_mr_reg(fabric_->domain_.get(), message_buffers_.data(), message_buffers_.size(),
                  FI_SEND | FI_RECV, 0, 0, 0, &mr, nullptr);
    if (e != 0) return FromFabric(e, "register message buffers");
    message_region_.reset(mr);
    message_desc_ = fi_mr_desc(mr);
  }
  for (int i = 0; i < receive_buffers; ++i) {
    slots_.push_back(std::make_unique<MessageSlot>());
    F3_RETURN_IF_ERROR(PostMessageBuffer(static_cast<size_t>(i)));
  }
  return Status();
}

Endpoint::~Endpoint() {
  endpoint_.reset();
  queue_.reset();
  message_region_.reset();
  addresses_.reset();
  for (FabricOp* op : ops_) delete op;
}

Status Endpoint::PostMessageBuffer(size_t index) {
  const ssize_t e =
      fi_recv(endpoint_.get(), message_buffers_.data() + index * kMaxMessageBytes, kMaxMessageBytes,
              message_desc_, FI_ADDR_UNSPEC, &slots_[index]->context);
  slots_[index]->posted = e == 0;
  return e == 0 ? Status() : FromFabric(e, "post a message buffer");
}

bool Endpoint::IsAddress(const std::string& text) { return !ParseAddress(text).empty(); }

Result<fi_addr_t> Endpoint::Resolve(const std::string& address) {
  auto found = known_.find(address);
  if (found != known_.end()) return found->second;
  std::vector<std::byte> bytes = ParseAddress(address);
  if (bytes.empty()) return Status::InvalidArgument("\"" + address + "\" is no fabric address");
  if (known_.size() >= kMaxPeers) return Status::Again("too many peers are known");
  fi_addr_t number = FI_ADDR_UNSPEC;
  if (fi_av_insert(addresses_.get(), bytes.data(), 1, &number, 0, nullptr) != 1) {
    return Status::InvalidArgument("the fabric does not take the address " + address);
  }
  known_[address] = number;
  return number;
}

FabricOp* Endpoint::NewOp(std::function<void(Status, size_t)> done) {
  auto* op = new FabricOp;
  op->done = std::move(done);
  ops_.insert(op);
  return op;
}

Status Endpoint::SendMessage(fi_addr_t to, const std::string& message,
                             std::function<void(Status, size_t)> done) {
  FabricOp* op = NewOp(std::move(done));
  op->message.resize(message.size());
  std::memcpy(op->message.data(), message.data(), message.size());
  // Small enough that every provider copies it.
  const ssize_t e =
      fi_send(endpoint_.get(), op->message.data(), op->message.size(), nullptr, to, &op->context);
  if (e == 0) return Status();
  ops_.erase(op);
  delete op;
  return e == -FI_EAGAIN ? Status::Again("not connected yet") : FromFabric(e, "send a message");
}

Status Endpoint::SendBytes(fi_addr_t to, uint64_t tag, std::span<const std::byte> bytes,
                           std::function<void(Status, size_t)> done) {
  FabricOp* op = NewOp(std::move(done));
  void* desc = fabric_->region_ != nullptr ? fi_mr_desc(fabric_->region_.get()) : nullptr;
  const ssize_t e =
      fi_tsend(endpoint_.get(), bytes.data(), bytes.size(), desc, to, tag, &op->context);
  if (e == 0) return Status();
  ops_.erase(op);
  delete op;
  return e == -FI_EAGAIN ? Status::Again("not connected yet") : FromFabric(e, "send bytes");
}

Result<FabricOp*> Endpoint::ReceiveBytes(uint64_t tag, std::span<std::byte> into,
                                         std::function<void(Status, size_t)> done) {
  FabricOp* op = NewOp(std::move(done));
  op->receive = true;
  void* desc = fabric_->region_ != nullptr ? fi_mr_desc(fabric_->region_.get()) : nullptr;
  const ssize_t e = fi_trecv(endpoint_.get(), into.data(), into.size(), desc, FI_ADDR_UNSPEC, tag,
                             0, &op->context);
  if (e == 0) return op;
  ops_.erase(op);
  delete op;
  return e == -FI_EAGAIN ? Status::Again("no room for a receive") : FromFabric(e, "receive bytes");
}

void Endpoint::Cancel(FabricOp* op) { fi_cancel(&endpoint_->fid, &op->context); }

void Endpoint::Finish(FabricOp* op, const Status& status, size_t bytes) {
  if (ops_.erase(op) == 0) return;
  std::function<void(Status, size_t)> done = std::move(op->done);
  delete op;
  if (done) done(status, bytes);
}

void Endpoint::DrainErrors() {
  fi_cq_err_entry error = {};
  while (fi_cq_readerr(queue_.get(), &error, 0) == 1) {
    for (size_t i = 0; i < slots_.size(); ++i) {
      if (error.op_context == &slots_[i]->context) slots_[i]->posted = false;
    }
    auto* op = static_cast<FabricOp*>(error.op_context);
    if (ops_.contains(op)) {
      Finish(op, Status::PeerUnreachable(fi_strerror(error.err)), 0);
    }
    error = {};
  }
}

int Endpoint::Poll() {
  int handled = 0;
  for (;;) {
    fi_cq_tagged_entry entries[kCompletionsAtOnce];
    const ssize_t n = fi_cq_read(queue_.get(), entries, kCompletionsAtOnce);
    if (n == -FI_EAVAIL) {
      DrainErrors();
      ++handled;
      continue;
    }
    if (n <= 0) break;
    for (ssize_t i = 0; i < n; ++i) {
      const fi_cq_tagged_entry& entry = entries[i];
      auto* op = static_cast<FabricOp*>(entry.op_context);
      if (ops_.contains(op)) {
        Finish(op, Status(), entry.len);
        continue;
      }
      for (size_t slot = 0; slot < slots_.size(); ++slot) {
        if (entry.op_context != &slots_[slot]->context) continue;
        std::span<const std::byte> bytes(message_buffers_.data() + slot * kMaxMessageBytes,
                                         std::min<size_t>(entry.len, kMaxMessageBytes));
        receive_(bytes);
        slots_[slot]->posted = false;
        break;
      }
    }
    handled += static_cast<int>(n);
    // Each read makes several system calls; what comes now is seen before anybody sleeps.
    if (n < kCompletionsAtOnce) break;
  }
  for (size_t slot = 0; slot < slots_.size(); ++slot) {
    if (!slots_[slot]->posted) PostMessageBuffer(slot).PermitUnchecked();
  }
  return handled;
}

}  // namespace f3::xdt
