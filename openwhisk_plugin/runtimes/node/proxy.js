'use strict';
// The Node.js runtime of F3's sandboxes: OpenWhisk's action protocol on port 8080.
//
// POST /init {"value": {"name", "main", "code", "binary", "env"}}   once: the action's source text,
//     or a zip file in base64 with package.json or index.js at its top
// POST /run {"value": arguments, "activation_id", "deadline", …}    calls main(arguments)
//
// The action lives in this process. Every key of /run but "value" is exported as __OW_KEY. After
// each activation a sentinel line ends standard output and standard error. One activation at a time.
// Usage: node proxy.js [PORT [DIRECTORY]]

const http = require('http');
const { call, load } = require('./action');

const SENTINEL = 'XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n';
const MAX_BODY = 80 << 20; // a zip file of 50 MB in base64 is 67 MB

const directory = process.argv[3] || '/action';
let action; // its function
let initialized = false;
let running = false;

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// Pipes and files are written at once, so that the lines are out before the answer is.
function endLogs() {
  process.stdout.write(SENTINEL);
  process.stderr.write(SENTINEL);
}

function exportSetting(name, setting) {
  process.env[name] = typeof setting === 'string' ? setting : JSON.stringify(setting);
}

async function init({ value }) {
  if (initialized) throw new Refused(403, 'Cannot initialize the action more than once.');
  if (!value || typeof value.code !== 'string' || value.code === '') {
    throw new Refused(403, 'Missing main/no code to execute.');
  }
  for (const [name, setting] of Object.entries(value.env || {})) exportSetting(name, setting);
  initialized = true; // modules cannot be taken back: it stays so after a failure
  try {
    action = await load(directory, value);
  } catch (error) {
    console.error(error);
    endLogs();
    throw new Refused(502, `Initialization has failed due to: ${error}`);
  }
  return { ok: true };
}

async function run(body) {
  if (!action) throw new Refused(403, 'The action has not been initialized.');
  if (running) throw new Refused(403, 'An activation is running.');
  for (const [name, setting] of Object.entries(body)) {
    if (name !== 'value') exportSetting(`__OW_${name.toUpperCase()}`, setting);
  }
  running = true;
  try {
    const result = await call(action, body.value || {});
    if (typeof result !== 'object' || result === null || Array.isArray(result)) {
      console.error(`The action returned ${result === null ? 'null' : typeof result}.`);
      throw new Refused(502, 'The action did not return a dictionary.');
    }
    return JSON.stringify(result); // what the action's toJSON throws is its error too
  } catch (error) {
    if (error instanceof Refused) throw error;
    console.error(error);
    throw new Refused(502, `An error has occurred: ${error}`);
  } finally {
    running = false;
    endLogs();
  }
}

function readBody(request) {
  return new Promise((resolve, reject) => {
    const chunks = [];
    let bytes = 0;
    request.on('data', (chunk) => {
      bytes += chunk.length;
      if (bytes <= MAX_BODY) chunks.push(chunk);
    });
    request.on('end', () => {
      if (bytes > MAX_BODY) reject(new Refused(413, `A request has at most ${MAX_BODY} bytes.`));
      else resolve(Buffer.concat(chunks));
    });
    request.on('error', reject);
  });
}

function parse(text) {
  let body;
  try {
    body = JSON.parse(text);
  } catch (error) {
    throw new Refused(400, `The request is no JSON: ${error.message}`);
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new Refused(400, 'The request is no JSON object.');
  }
  return body;
}

async function handle(request) {
  const handler = { '/init': init, '/run': run }[request.url];
  if (!handler) throw new Refused(404, 'There are /init and /run.');
  if (request.method !== 'POST') throw new Refused(405, 'Use POST.');
  return handler(parse((await readBody(request)).toString('utf8')));
}

function answer(response, status, value) {
  const body = Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': body.length });
  response.end(body);
}

const server = http.createServer(async (request, response) => {
  try {
    answer(response, 200, await handle(request));
  } catch (error) {
    answer(response, error.status || 500, { error: error.message });
  }
});
// A container is idle, or paused, for as long as its owner wants, and an action runs as long.
server.keepAliveTimeout = 0;
server.requestTimeout = 0;
server.headersTimeout = 0;
server.timeout = 0;

// What an action throws outside of its activation ends the process, as anywhere in Node.js; promises
// that it forgot do not.
process.on('unhandledRejection', (error) => console.error('Unhandled rejection:', error));

server.listen(Number(process.argv[2] || 8080), '0.0.0.0');
