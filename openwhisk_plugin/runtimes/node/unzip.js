'use strict';
// Unpacks a zip file that is in memory: stored and deflated entries, permissions, symbolic links.
// Node's library has the decompressor but not the container format (APPNOTE.TXT 6.3.x, 4.3).

const fs = require('fs');
const path = require('path');
const zlib = require('zlib');

const END_SIGNATURE = 0x06054b50;
const ENTRY_SIGNATURE = 0x02014b50;
const LOCAL_SIGNATURE = 0x04034b50;
const END_BYTES = 22;
const MAX_COMMENT = 0xffff;
const LINK = 0o120000;

// The offset of the end record, which a comment may follow.
function findEnd(zip) {
  const first = Math.max(0, zip.length - END_BYTES - MAX_COMMENT);
  for (let at = zip.length - END_BYTES; at >= first; at--) {
    if (zip.readUInt32LE(at) === END_SIGNATURE) return at;
  }
  throw new Error('this is no zip file');
}

// The entries of the central directory, in its order.
function readDirectory(zip) {
  const end = findEnd(zip);
  const count = zip.readUInt16LE(end + 10);
  let at = zip.readUInt32LE(end + 16);
  if (count === 0xffff || at === 0xffffffff) throw new Error('zip64 files are not read');
  const entries = [];
  for (let i = 0; i < count; i++) {
    if (zip.readUInt32LE(at) !== ENTRY_SIGNATURE) throw new Error('the zip directory is damaged');
    const nameLength = zip.readUInt16LE(at + 28);
    const name = zip.toString('utf8', at + 46, at + 46 + nameLength);
    const madeOnUnix = zip.readUInt8(at + 5) === 3;
    entries.push({
      name,
      encrypted: (zip.readUInt16LE(at + 8) & 1) !== 0,
      method: zip.readUInt16LE(at + 10),
      packed: zip.readUInt32LE(at + 20),
      size: zip.readUInt32LE(at + 24),
      mode: madeOnUnix ? zip.readUInt32LE(at + 38) >>> 16 : 0,
      offset: zip.readUInt32LE(at + 42),
    });
    at += 46 + nameLength + zip.readUInt16LE(at + 30) + zip.readUInt16LE(at + 32);
  }
  return entries;
}

function contentOf(zip, entry) {
  if (entry.encrypted) throw new Error(`${entry.name} is encrypted`);
  if (zip.readUInt32LE(entry.offset) !== LOCAL_SIGNATURE) {
    throw new Error(`the zip entry ${entry.name} is damaged`);
  }
  const begin = entry.offset + 30 + zip.readUInt16LE(entry.offset + 26) +
    zip.readUInt16LE(entry.offset + 28);
  const packed = zip.subarray(begin, begin + entry.packed);
  if (packed.length !== entry.packed) throw new Error(`the zip entry ${entry.name} is cut off`);
  if (entry.method === 0) return packed;
  if (entry.method !== 8) throw new Error(`${entry.name} has compression method ${entry.method}`);
  return zlib.inflateRawSync(packed, { maxOutputLength: Math.max(1, entry.size) });
}

// Where an entry goes. Throws when that is not below `directory`.
function placeOf(directory, name) {
  const place = path.resolve(directory, name);
  if (place !== directory && !place.startsWith(directory + path.sep)) {
    throw new Error(`the zip entry ${name} lies outside of the action`);
  }
  return place;
}

// Unpacks all of `zip` (a Buffer) below `directory`, which exists.
function unzip(zip, directory) {
  const links = [];
  for (const entry of readDirectory(zip)) {
    const place = placeOf(directory, entry.name);
    if (entry.name.endsWith('/')) {
      fs.mkdirSync(place, { recursive: true });
      continue;
    }
    fs.mkdirSync(path.dirname(place), { recursive: true });
    const content = contentOf(zip, entry);
    if ((entry.mode & 0o170000) === LINK) {
      links.push({ place, target: content.toString('utf8') });
      continue;
    }
    fs.writeFileSync(place, content, { mode: (entry.mode & 0o777) || 0o644 });
  }
  // Last, so that no entry is written through one.
  for (const { place, target } of links) {
    placeOf(directory, path.resolve(path.dirname(place), target));
    fs.symlinkSync(target, place);
  }
}

module.exports = { unzip };
