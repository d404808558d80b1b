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

BlockName NameOf(const meta::BlockRow& row) {
  return {row.ino(), row.block().index(), row.block().generation()};
}

std::string Describe(const BlockName& name) {
  return "block " + std::to_string(name.index) + " of inode " + std::to_string(name.ino);
}

using BlockRows = std::map<BlockName, meta::Block>;
using StoredBlocks = std::map<BlockName, uint64_t>;  // with their bytes

void CheckRows(meta::MetaClient* client, storage::DurableStore* store, const BlockRows& rows,
               Findings* findings, const std::function<void()>& tick) {
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
}

Status ReportLeaks(storage::DurableStore* store, const StoredBlocks& unnamed, bool repair,
                   Findings* findings) {
  if (unnamed.empty()) return Status();
  StoredBlocks leaked;
  F3_RETURN_IF_ERROR(store->ForEach([&](const BlockName& name, uint64_t bytes) {
    if (unnamed.count(name)) leaked[name] = bytes;  // else it has been collected meanwhile
    return true;
  }));
  for (const auto& [name, bytes] : leaked) {
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
// then rows, then garbage. A block that was put before the list is then named by its intent, by its
// row, or as the garbage of a later publish, unless it has been collected already.
Status CheckBlocks(meta::MetaClient* client, storage::DurableStore* store, bool repair,
                   Findings* findings, const std::function<void()>& tick) {
  StoredBlocks stored;
  F3_RETURN_IF_ERROR(store->ForEach([&](const BlockName& name, uint64_t bytes) {
    stored[name] = bytes;
    findings->block_bytes += bytes;
    return true;
  }));
  std::set<std::pair<Ino, Generation>> intents;
  F3_RETURN_IF_ERROR(Scan(client, meta::SCAN_INTENTS, [&](const meta::ScanReply& page) {
    for (const auto& row : page.blocks()) intents.insert({row.ino(), row.block().generation()});
  }));
  BlockRows rows;
  F3_RETURN_IF_ERROR(Scan(client, meta::SCAN_BLOCKS, [&](const meta::ScanReply& page) {
    for (const auto& row : page.blocks()) rows[NameOf(row)] = row.block();
  }));
  findings->blocks = rows.size();
  std::set<BlockName> garbage;
  F3_RETURN_IF_ERROR(Scan(client, meta::SCAN_GARBAGE, [&](const meta::ScanReply& page) {
    for (const auto& row : page.blocks()) garbage.insert(NameOf(row));
  }));
  CheckRows(client, store, rows, findings, tick);
  std::erase_if(stored, [&](const auto& block) {
    const BlockName& name = block.first;
    return rows.count(name) || garbage.count(name) || intents.count({name.ino, name.generation});
  });
  return ReportLeaks(store, stored, repair, findings);
}

}  // namespace f3::cli
