// Counts the words of a text and ranks them.
'use strict';
const fs = require('fs');

const counts = new Map();
for (const line of fs.readFileSync('data/text.txt', 'utf8').split('\n')) {
  for (const word of line.toLowerCase().match(/[a-z_]+/g) ?? []) {
    counts.set(word, (counts.get(word) ?? 0) + 1);
  }
}
const ranked = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
console.log(ranked.length, ranked.slice(0, 5));
