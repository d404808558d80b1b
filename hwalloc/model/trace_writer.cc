#include <fcntl.h>
#include <unistd.h>
#include <zstd.h>

#include <cerrno>
#include <cstdio>

#include "hwalloc/model/trace.h"
#include "hwalloc/model/trace_file.h"

namespace f3::hwmodel {
namespace {

// The emulator waits for the compressor on a machine with one core.
constexpr int kCompressionLevel = 1;

std::string Header(const std::vector<std::string>& command) {
  std::string words;
  for (const auto& word : command) words.append(word).push_back('\0');
  if (words.size() > kMaxCommandBytes) words.resize(kMaxCommandBytes);
  std::string out(kTraceMagic);
  for (uint32_t number : {kTraceVersion, static_cast<uint32_t>(words.size())}) {
    for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(number >> shift));
  }
  return out + words;
}

}  // namespace

struct TraceWriter::Compressor {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  std::string out = std::string(ZSTD_CStreamOutSize(), '\0');
  Compressor() = default;
  ~Compressor() { ZSTD_freeCCtx(context); }
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;
};

TraceWriter::TraceWriter(std::string path, UniqueFd fd)
    : path_(std::move(path)), fd_(std::move(fd)), compressor_(std::make_unique<Compressor>()) {}

TraceWriter::~TraceWriter() {
  if (!finished_) ::unlink((path_ + ".part").c_str());
}

Result<std::unique_ptr<TraceWriter>> TraceWriter::Create(const std::string& path,
                                                         const std::vector<std::string>& command) {
  UniqueFd fd(::open((path + ".part").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid()) return Status::FromErrno(errno, "create " + path + ".part");
  std::unique_ptr<TraceWriter> writer(new TraceWriter(path, std::move(fd)));
  ZSTD_CCtx* context = writer->compressor_->context;
  if (context == nullptr) return Status::NoMemory("no memory for the compressor");
  ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, kCompressionLevel);
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  std::string header = Header(command);
  F3_RETURN_IF_ERROR(writer->WriteOut(header.data(), header.size()));
  return writer;
}

Status TraceWriter::WriteOut(const void* data, size_t bytes) {
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    ssize_t n = ::write(fd_.get(), at, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::FromErrno(errno, "write " + path_ + ".part");
    at += n;
    bytes -= static_cast<size_t>(n);
    written_bytes_ += static_cast<uint64_t>(n);
  }
  return Status();
}

Status TraceWriter::Compress(std::string_view records, bool end) {
  ZSTD_inBuffer in = {records.data(), records.size(), 0};
  for (;;) {
    ZSTD_outBuffer out = {compressor_->out.data(), compressor_->out.size(), 0};
    size_t left =
        ZSTD_compressStream2(compressor_->context, &out, &in, end ? ZSTD_e_end : ZSTD_e_continue);
    if (ZSTD_isError(left)) {
      return Status::Internal(std::string("compress the trace: ") + ZSTD_getErrorName(left));
    }
    F3_RETURN_IF_ERROR(WriteOut(compressor_->out.data(), out.pos));
    if (end ? left == 0 : in.pos == in.size) return Status();
  }
}

Status TraceWriter::Append(std::string_view records) { return Compress(records, false); }

Status TraceWriter::Finish() {
  F3_RETURN_IF_ERROR(Compress({}, true));
  if (std::rename((path_ + ".part").c_str(), path_.c_str()) != 0) {
    return Status::FromErrno(errno, "rename " + path_ + ".part");
  }
  finished_ = true;
  return Status();
}

}  // namespace f3::hwmodel
