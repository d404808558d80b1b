#include "cli/consistency.h"

#include <map>
#include <set>
#include <span>
#include <utility>

#include "cli/call_meta.h"
#include "common/units.h"

namespace f3::cli {
namespace {

using storage::BlockName;

constexpr uint32_t kPageItems = 1000;

// Runs a scan page by page.
Status Scan(meta::MetaClient* client, meta::ScanKind kind,
            const std::function<void(const meta::ScanReply&)>& page) {
  std::string after;
  while (true) {
    meta::Request request;
    request.mutable_scan()->set_kind(kind);
    request.mutable_scan()->set_max_items(kPageItems);
    request.mutable_scan()->set_after(after);
    F3_ASSIGN_OR_RETURN(meta::Reply reply, CallMeta(client, request));
    page(reply.scan());
    if (reply.scan().next().empty()) return Status();
    if (reply.scan().next() == after) return Status::Internal("a scan does not advance");
    after = reply.scan().next();
  }
}

std::string Describe(const BlockName& name) {
  return "block " + std::to_string(name.index) + " of inode " + std::to_string(name.ino);
}

}  // namespace

Status CheckMetadata(meta::MetaClient* client, Findings* findings,
                     const std::function<void()>& tick) {
  return Scan(client, meta::SCAN_CHECK, [&](const meta::ScanReply& page) {
    tick();
    findings->inodes += page.checked();
    for (const auto& problem : page.problems()) findings->problems.push_back(problem);
  });
}

// The order matters while files are being written: what is stored is listed first, then intents,
// then rows. A block that was put before the list is then named by its intent or by its row, unless
// a later publish has already replaced it.
Status CheckBlocks(meta::MetaClient* client, storage::DurableStore* store, bool repair,
                   Findings* findings, const std::function<void()>& tick) {
  std::map<BlockName, uint64_t> stored;
  F3_RETURN_IF_ERROR(store->ForEach([&](const BlockName& name, uint64_t bytes) {
    stored[name] = bytes;
    findings->block_bytes += bytes;
    return true;
  }));
  std::set<std::pair<Ino, Generation>> intents;
  F3_RETURN_IF_ERROR(Scan(client, meta::SCAN_INTENTS, [&](const meta::ScanReply& page) {
    for (const auto& row : page.blocks()) intents.insert({row.ino(), row.block().generation()});
  }));
  std::map<BlockName, meta::Block> rows;
  F3_RETURN_IF_ERROR(Scan(client, meta::SCAN_BLOCKS, [&](const meta::ScanReply& page) {
    for (const auto& row : page.blocks()) {
      rows[{row.ino(), row.block().index(), row.block().generation()}] = row.block();
    }
  }));
  findings->blocks = rows.size();
  std::vector<std::byte> buffer(kBlockBytes);
  for (const auto& [name, block] : rows) {
    tick();
    Status status =
        store->Get(name, block.length(), block.crc(), 0, std::span(buffer).first(block.length()));
    if (status.ok()) continue;
    // Published or removed since the rows were read?
    meta::Request request;
    request.mutable_block_map()->set_ino(name.ino);
    request.mutable_block_map()->set_first(name.index);
    request.mutable_block_map()->set_count(1);
    auto now = CallMeta(client, request);
    bool still =
        now.ok() && now->blocks_size() == 1 && now->blocks(0).generation() == name.generation;
    if (still) {
      findings->problems.push_back(Describe(name) +
                                   (status.Is(Code::kNotFound) ? " is missing" : " is corrupt") +
                                   ": " + status.message());
    }
  }
  for (const auto& [name, bytes] : stored) {
    if (rows.count(name) || intents.count({name.ino, name.generation})) continue;
    std::string text = Describe(name) + ", generation " + std::to_string(name.generation) + " (" +
                       FormatBytes(bytes) + ") is leaked: no file has it";
    if (repair) {
      F3_RETURN_IF_ERROR(store->Remove(name));
      findings->repaired.push_back(text + "; removed");
    } else {
      findings->problems.push_back(text);
    }
  }
  return Status();
}

}  // namespace f3::cli
