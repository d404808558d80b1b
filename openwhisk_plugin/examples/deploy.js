'use strict';
// Deploys the example's actions with the stock client: npm install openwhisk; node deploy.js
// OW_APIHOST (http://127.0.0.1:PORT) and OW_AUTH (ID:KEY) say where to and as whom.

const fs = require('fs');
const path = require('path');

const ROOT = '/mnt/f3';
const mounts = [{ volume: 'default', path: ROOT, mode: 'rw' }];

// What lies between the steps is ephemeral; "outputs" are durable.
const hints = { class: { '*.part': 'ephemeral' }, locality: 'prefer' };

const ACTIONS = [
  { name: 'f3-make-input', file: 'make_input.py', hints: { class: 'ephemeral' } },
  { name: 'f3-split', file: 'split.py', hints },
  { name: 'f3-count', file: 'count.py', hints, memory: 256 },
  { name: 'f3-merge', file: 'merge.py', hints: { ...hints, outputs: ['out/*/*'] }, memory: 512 },
  { name: 'f3-report', file: 'report.js', hints: { ...hints, outputs: ['out/*/*'] } },
  { name: 'f3-digest-python', file: 'digest.py', hints },
  { name: 'f3-digest-node', file: 'digest.js', hints },
  { name: 'f3-put-file', file: 'put_file.py', hints },
];
// The second step gets what the first returns: two paths.
const SEQUENCE = { name: 'f3-finish', steps: ['f3-merge', 'f3-report'] };

const kindOf = (file) => (file.endsWith('.py') ? 'python:3' : 'nodejs:18');

function connect() {
  const { OW_APIHOST: apihost, OW_AUTH: key } = process.env;
  if (!apihost || !key) throw new Error('set OW_APIHOST and OW_AUTH');
  return require('openwhisk')({ apihost, api_key: key, ignore_certs: true });
}

async function deploy(client) {
  for (const action of ACTIONS) {
    await client.actions.update({
      name: action.name,
      action: fs.readFileSync(path.join(__dirname, 'actions', action.file), 'utf8'),
      kind: kindOf(action.file),
      annotations: { 'f3-mounts': mounts, 'f3-hints': action.hints },
      limits: { memory: action.memory || 256, timeout: 300000 },
    });
  }
  await client.actions.update({
    name: SEQUENCE.name,
    sequence: SEQUENCE.steps.map((step) => `/_/${step}`),
  });
  return [...ACTIONS.map((action) => action.name), SEQUENCE.name];
}

async function remove(client) {
  for (const name of [SEQUENCE.name, ...ACTIONS.map((action) => action.name)]) {
    await client.actions.delete({ name });
  }
}

module.exports = { ROOT, connect, deploy, remove };

if (require.main === module) {
  deploy(connect()).then((names) => console.log(`deployed ${names.join(', ')}`), (error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
}
