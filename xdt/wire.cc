#include "xdt/wire.h"

#include <cstring>
#include <utility>

namespace f3::xdt {
namespace {

constexpr uint32_t kMagic = 0x31583346;  // "F3X1"
enum class Kind : uint8_t { kRequest = 1, kReady = 2, kReply = 3 };

// Writes fields in order.
class Writer {
 public:
  template <typename T>
  void Number(T value) {
    auto bits = static_cast<std::make_unsigned_t<T>>(value);
    for (size_t i = 0; i < sizeof(T); ++i) {
      text_.push_back(static_cast<char>(static_cast<uint64_t>(bits) >> (8 * i)));
    }
  }
  void Flag(bool value) { text_.push_back(value ? 1 : 0); }
  void Text(const std::string& value, size_t limit) {
    if (value.size() > limit) fits_ = false;
    Number(static_cast<uint16_t>(value.size()));
    text_ += value;
  }
  std::string Take() {
    if (!fits_ || text_.size() > kMaxMessageBytes) return "";
    return std::move(text_);
  }

 private:
  std::string text_;
  bool fits_ = true;
};

// Reads fields in order; after one that is missing or wrong nothing more is read.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : left_(bytes) {}

  template <typename T>
  void Number(T* value) {
    if (left_.size() < sizeof(T)) return Fail();
    uint64_t bits = 0;
    for (size_t i = 0; i < sizeof(T); ++i) bits |= std::to_integer<uint64_t>(left_[i]) << (8 * i);
    *value = static_cast<T>(bits);
    left_ = left_.subspan(sizeof(T));
  }
  void Flag(bool* value) {
    uint8_t byte = 0;
    Number(&byte);
    if (byte > 1) return Fail();
    *value = byte == 1;
  }
  // An enumeration of bytes 1 … `last`.
  template <typename E>
  void Choice(E* value, E last) {
    uint8_t byte = 0;
    Number(&byte);
    if (byte == 0 || byte > static_cast<uint8_t>(last)) return Fail();
    *value = static_cast<E>(byte);
  }
  void Text(std::string* value, size_t limit) {
    uint16_t size = 0;
    Number(&size);
    if (size > limit || size > left_.size()) return Fail();
    value->assign(reinterpret_cast<const char*>(left_.data()), size);
    left_ = left_.subspan(size);
  }
  void Fail() {
    ok_ = false;
    left_ = {};
  }
  bool done() const { return ok_ && left_.empty(); }
  bool ok() const { return ok_; }

 private:
  std::span<const std::byte> left_;
  bool ok_ = true;
};

void Start(Writer* out, Kind kind) {
  out->Number(kMagic);
  out->Number(static_cast<uint8_t>(kind));
}

std::string EncodeRequest(const RequestMessage& m) {
  Writer out;
  Start(&out, Kind::kRequest);
  out.Number(m.id);
  out.Number(m.tag);
  out.Number(m.epoch);
  out.Number(m.patience_micros);
  out.Number(static_cast<uint8_t>(m.operation));
  out.Number(static_cast<uint8_t>(m.control));
  out.Flag(m.follow);
  out.Flag(m.append);
  out.Flag(m.bytes_inline);
  out.Number(m.object.ino);
  out.Number(m.object.incarnation);
  out.Number(m.version);
  out.Number(m.offset);
  out.Number(m.length);
  out.Number(m.crc);
  out.Number(m.a);
  out.Number(m.b);
  out.Number(m.c);
  out.Text(m.reply_to, kMaxAddressBytes);
  out.Text(m.token, kMaxTokenBytes);
  out.Text(m.bytes, kMaxInlineBytes);
  return out.Take();
}

Result<Message> DecodeRequest(Reader in) {
  RequestMessage m;
  in.Number(&m.id);
  in.Number(&m.tag);
  in.Number(&m.epoch);
  in.Number(&m.patience_micros);
  in.Choice(&m.operation, Operation::kControl);
  in.Choice(&m.control, ControlOp::kStatBuffer);
  in.Flag(&m.follow);
  in.Flag(&m.append);
  in.Flag(&m.bytes_inline);
  in.Number(&m.object.ino);
  in.Number(&m.object.incarnation);
  in.Number(&m.version);
  in.Number(&m.offset);
  in.Number(&m.length);
  in.Number(&m.crc);
  in.Number(&m.a);
  in.Number(&m.b);
  in.Number(&m.c);
  in.Text(&m.reply_to, kMaxAddressBytes);
  in.Text(&m.token, kMaxTokenBytes);
  in.Text(&m.bytes, kMaxInlineBytes);
  const bool sizes = m.length <= kMaxTransferBytes &&
                     m.bytes.size() == (m.bytes_inline ? m.length : 0u) && m.patience_micros >= 0;
  if (!in.done() || !sizes) return Status::BadMessage("a malformed transfer request");
  return Message(std::move(m));
}

std::string EncodeReady(const ReadyMessage& m) {
  Writer out;
  Start(&out, Kind::kReady);
  out.Number(m.id);
  out.Text(m.address, kMaxAddressBytes);
  return out.Take();
}

Result<Message> DecodeReady(Reader in) {
  ReadyMessage m;
  in.Number(&m.id);
  in.Text(&m.address, kMaxAddressBytes);
  if (!in.done()) return Status::BadMessage("a malformed go-ahead for a transfer");
  return Message(std::move(m));
}

std::string EncodeReply(const ReplyMessage& m) {
  Writer out;
  Start(&out, Kind::kReply);
  out.Number(m.id);
  out.Number(static_cast<uint32_t>(m.code));
  out.Text(m.text.substr(0, kMaxTextBytes), kMaxTextBytes);
  out.Flag(m.bytes_inline);
  out.Flag(m.writing);
  out.Number(m.length);
  out.Number(m.crc);
  out.Number(m.value);
  out.Number(m.object_bytes);
  out.Number(m.version);
  out.Number(m.mtime_ns);
  out.Number(m.allocated_bytes);
  out.Text(m.bytes, kMaxInlineBytes);
  return out.Take();
}

Result<Message> DecodeReply(Reader in) {
  ReplyMessage m;
  uint32_t code = 0;
  in.Number(&m.id);
  in.Number(&code);
  in.Text(&m.text, kMaxTextBytes);
  in.Flag(&m.bytes_inline);
  in.Flag(&m.writing);
  in.Number(&m.length);
  in.Number(&m.crc);
  in.Number(&m.value);
  in.Number(&m.object_bytes);
  in.Number(&m.version);
  in.Number(&m.mtime_ns);
  in.Number(&m.allocated_bytes);
  in.Text(&m.bytes, kMaxInlineBytes);
  m.code = code == 0 ? Code::kOk : CodeFromNumber(static_cast<int>(code));
  const bool sizes =
      m.length <= kMaxTransferBytes && m.bytes.size() == (m.bytes_inline ? m.length : 0u);
  if (!in.done() || !sizes) return Status::BadMessage("a malformed answer to a transfer request");
  return Message(std::move(m));
}

}  // namespace

std::string Encode(const Message& message) {
  if (const auto* request = std::get_if<RequestMessage>(&message)) return EncodeRequest(*request);
  if (const auto* ready = std::get_if<ReadyMessage>(&message)) return EncodeReady(*ready);
  return EncodeReply(std::get<ReplyMessage>(message));
}

Result<Message> Decode(std::span<const std::byte> bytes) {
  if (bytes.size() > kMaxMessageBytes) return Status::BadMessage("an over-long message");
  Reader in(bytes);
  uint32_t magic = 0;
  Kind kind = Kind::kRequest;
  in.Number(&magic);
  in.Choice(&kind, Kind::kReply);
  if (!in.ok() || magic != kMagic) {
    return Status::BadMessage("not a message of this version of the transfer engine");
  }
  switch (kind) {
    case Kind::kRequest:
      return DecodeRequest(in);
    case Kind::kReady:
      return DecodeReady(in);
    default:
      return DecodeReply(in);
  }
}

}  // namespace f3::xdt
