'use strict';
// {"table", "compressed", "into", "bytes"}, as merge returns it: checks that the compressed file has
// all bytes of the input, line by line of the table, and writes a report. Streams both.

const fs = require('fs');
const path = require('path');
const readline = require('readline');
const zlib = require('zlib');
const { pipeline } = require('stream/promises');

const TOP = 10;

async function summarise(table) {
  const summary = { words: 0, different: 0, top: [] };
  for await (const line of readline.createInterface({ input: fs.createReadStream(table) })) {
    const [word, count] = line.split('\t');
    summary.words += Number(count);
    summary.different += 1;
    if (summary.top.length < TOP) summary.top.push([word, Number(count)]);
  }
  return summary;
}

// Bytes and words of the text inside.
async function readBack(compressed) {
  const found = { bytes: 0, words: 0 };
  let inWord = false;
  await pipeline(fs.createReadStream(compressed), zlib.createGunzip(), async (source) => {
    for await (const chunk of source) {
      found.bytes += chunk.length;
      for (const byte of chunk) {
        const isSpace = byte === 32 || byte === 10;
        if (inWord && isSpace) found.words += 1;
        inWord = !isSpace;
      }
    }
  });
  return found;
}

async function main({ table, compressed, into, bytes }) {
  const [summary, found] = await Promise.all([summarise(table), readBack(compressed)]);
  if (found.bytes !== bytes || found.words !== summary.words) {
    throw new Error(`${compressed} has ${found.bytes} bytes and ${found.words} words instead of ` +
      `${bytes} and ${summary.words}`);
  }
  const report = path.join(into, 'report.txt');
  fs.writeFileSync(report, [
    `${bytes} bytes, ${summary.words} words, ${summary.different} different`,
    ...summary.top.map(([word, count]) => `${count}\t${word}`), ''].join('\n'));
  return { report, ...summary, bytes, compressed_bytes: fs.statSync(compressed).size };
}
