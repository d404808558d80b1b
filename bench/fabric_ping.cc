// Messages of libfabric alone: what `f3 bench fabric-echo` and `fabric-ping` run. See bench/link.h.
//
// The asking side posts tagged receives, one for each piece of at most 1 MiB, a window of them at a
// time, and sends one message: its address and how many bytes it wants. The answering side sends
// the pieces, as many at a time.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "bench/link.h"
#include "common/clock.h"
#include "xdt/fabric.h"
#include "xdt/transfer_engine.h"

namespace f3::bench {
namespace {

using xdt::Endpoint;
using xdt::Fabric;

constexpr uint64_t kPiece = 1 << 20;
constexpr uint64_t kWindow = 8;
constexpr int kMessageBuffers = 16;
constexpr int64_t kPatienceMicros = 20'000'000;

double NowMicros() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::micro>(now).count();
}

uint64_t PiecesOf(uint64_t bytes) { return std::max<uint64_t>((bytes + kPiece - 1) / kPiece, 1); }

// An endpoint, and memory for the pieces that are under way.
class Party {
 public:
  Status Open(const std::string& bind, Endpoint::Receive receive) {
    memory_.resize(kWindow * kPiece);
    F3_ASSIGN_OR_RETURN(fabric_, Fabric::Open(xdt::TransferEngine::Options().provider, bind,
                                              std::as_writable_bytes(std::span(memory_))));
    F3_ASSIGN_OR_RETURN(endpoint_,
                        Endpoint::Open(fabric_.get(), kMessageBuffers, std::move(receive)));
    return Status();
  }
  Endpoint* endpoint() const { return endpoint_.get(); }
  // Where piece `i` of a value goes.
  std::span<std::byte> Place(uint64_t i, uint64_t bytes) {
    const auto all = std::as_writable_bytes(std::span(memory_));
    return all.subspan(i % kWindow * kPiece, std::min(kPiece, bytes - i * kPiece));
  }
  // Tries until there is room, or a connection; polls meanwhile.
  Status Insist(const std::function<Status()>& send) {
    const int64_t give_up = Clock::Real()->MonotonicMicros() + kPatienceMicros;
    for (;;) {
      Status sent = send();
      if (!sent.Is(Code::kAgain)) return sent;
      if (Clock::Real()->MonotonicMicros() > give_up) return sent;
      endpoint_->Poll();
    }
  }

 private:
  std::vector<char> memory_;
  std::unique_ptr<Fabric> fabric_;
  std::unique_ptr<Endpoint> endpoint_;
};

// One value on its way; `start` posts the operation of one piece.
class Transfer {
 public:
  using Start = std::function<Status(uint64_t piece, std::function<void(Status, size_t)> done)>;
  Transfer(uint64_t pieces, Start start) : pieces_(pieces), start_(std::move(start)) {}
  // Posts what the window allows.
  Status Pump() {
    while (failure_.ok() && started_ < pieces_ && started_ - ended_ < kWindow) {
      const uint64_t piece = started_++;
      F3_RETURN_IF_ERROR(start_(piece, [this](const Status& status, size_t) {
        ++ended_;
        if (!status.ok()) failure_ = status;
      }));
    }
    return failure_;
  }
  bool over() const { return ended_ == pieces_; }

 private:
  const uint64_t pieces_;
  const Start start_;
  uint64_t started_ = 0, ended_ = 0;
  Status failure_;
};

Status Finish(Party* party, Transfer* transfer) {
  const int64_t give_up = Clock::Real()->MonotonicMicros() + kPatienceMicros;
  while (!transfer->over()) {
    F3_RETURN_IF_ERROR(transfer->Pump());
    party->endpoint()->Poll();
    if (Clock::Real()->MonotonicMicros() > give_up) return Status::Timeout("the fabric is silent");
  }
  return Status();
}

Status Answer(Party* party, const std::string& request) {
  std::istringstream words(request);
  std::string address;
  uint64_t bytes = 0;
  if (!(words >> address >> bytes)) return Status::BadMessage("not a request: " + request);
  F3_ASSIGN_OR_RETURN(fi_addr_t to, party->endpoint()->Resolve(address));
  Transfer sends(PiecesOf(bytes), [&](uint64_t piece, std::function<void(Status, size_t)> done) {
    return party->Insist(
        [&] { return party->endpoint()->SendBytes(to, piece, party->Place(piece, bytes), done); });
  });
  return Finish(party, &sends);
}

Status AskOnce(Party* party, fi_addr_t to, uint64_t bytes) {
  Transfer receives(PiecesOf(bytes), [&](uint64_t piece, std::function<void(Status, size_t)> done) {
    return party->Insist([&] {
      return party->endpoint()->ReceiveBytes(piece, party->Place(piece, bytes), done).status();
    });
  });
  F3_RETURN_IF_ERROR(receives.Pump());
  const std::string request = party->endpoint()->address() + " " + std::to_string(bytes);
  F3_RETURN_IF_ERROR(party->Insist([&] {
    return party->endpoint()->SendMessage(to, request, [](const Status& sent, size_t) {
      sent.PermitUnchecked();  // then nothing comes
    });
  }));
  return Finish(party, &receives);
}

}  // namespace

Status EchoOverFabric(const std::string& bind) {
  Party party;
  std::vector<std::string> requests;
  F3_RETURN_IF_ERROR(party.Open(bind, [&requests](std::span<const std::byte> bytes) {
    requests.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }));
  std::printf("%s\n", party.endpoint()->address().c_str());
  std::fflush(stdout);
  int64_t asked = Clock::Real()->MonotonicMicros();
  while (Clock::Real()->MonotonicMicros() - asked < kPatienceMicros) {
    party.endpoint()->Poll();
    for (const std::string& request : std::exchange(requests, {})) {
      F3_RETURN_IF_ERROR(Answer(&party, request));
      asked = Clock::Real()->MonotonicMicros();
    }
  }
  return Status();
}

Status PingOverFabric(const std::string& bind, const std::string& peer, uint64_t bytes, int runs) {
  Party party;
  F3_RETURN_IF_ERROR(party.Open(bind, [](std::span<const std::byte>) {}));
  F3_ASSIGN_OR_RETURN(fi_addr_t to, party.endpoint()->Resolve(peer));
  F3_RETURN_IF_ERROR(AskOnce(&party, to, bytes));  // connects
  nlohmann::json micros = nlohmann::json::array();
  for (int run = 0; run < runs; ++run) {
    const double start = NowMicros();
    F3_RETURN_IF_ERROR(AskOnce(&party, to, bytes));
    micros.push_back(NowMicros() - start);
  }
  std::printf("%s\n", micros.dump().c_str());
  return Status();
}

}  // namespace f3::bench
