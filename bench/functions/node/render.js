// Renders a web page of records with a small template engine.
'use strict';
const fs = require('fs');

const ESCAPES = {'&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;'};
const escape = (text) => String(text).replace(/[&<>"]/g, (c) => ESCAPES[c]);

// "{{name}}" is replaced by that property of the values.
function compile(template) {
  const parts = template.split(/\{\{(\w+)\}\}/);
  return (values) => parts.map((part, i) => (i % 2 ? escape(values[part]) : part)).join('');
}

const row = compile('<tr><td>{{id}}</td><td>{{name}}</td><td>{{args}}</td><td>{{doc}}</td></tr>\n');
const section = compile('<h2>{{module}} ({{count}})</h2>\n');
const records = JSON.parse(fs.readFileSync('data/records.json', 'utf8'));
const modules = new Map();
for (const record of records) {
  if (!modules.has(record.module)) modules.set(record.module, []);
  modules.get(record.module).push(record);
}
let page = '';
for (const [module, items] of [...modules].sort((a, b) => a[0].localeCompare(b[0]))) {
  page += section({module, count: items.length});
  for (const item of items) page += row({...item, args: item.arguments.join(', ')});
}
console.log(page.length, modules.size);
