'use strict';
// Runs the deployed workflow: node run.js [MEGABYTES [WORKERS]]
// make-input → split → WORKERS × count → finish (merge, report). Paths and references travel between
// the steps; this program sees no byte of the text.

const { ROOT, connect } = require('./deploy');

// Runs the workflow and resolves to what the report returned, with the time of each step (ms).
async function run(client, { megabytes = 100, workers = 4, id = `run-${Date.now()}` } = {}) {
  const times = {};
  const invoke = (name, params) =>
    client.actions.invoke({ name, blocking: true, result: true, params });
  const timed = async (step, work) => {
    const begin = process.hrtime.bigint();
    const result = await work;
    times[step] = Number((process.hrtime.bigint() - begin) / 1000000n);
    return result;
  };

  const input = await timed('input', invoke('f3-make-input',
    { path: `${ROOT}/in/${id}.part`, megabytes }));
  const { parts } = await timed('split', invoke('f3-split',
    { path: input.path, parts: workers, into: `${ROOT}/work/${id}`, __f3: { inputs: [input.path] } }));
  const results = await timed('count', Promise.all(parts.map((part) =>
    invoke('f3-count', { part, __f3: { inputs: [part] } }))));
  const report = await timed('finish', invoke('f3-finish',
    { results, into: `${ROOT}/out/${id}`,
      __f3: { inputs: results.map((result) => result.compressed) } }));
  if (report.bytes !== input.bytes) {
    throw new Error(`the report speaks of ${report.bytes} bytes, the input has ${input.bytes}`);
  }
  return { ...report, counts_bytes: results.map((result) => result.counts_bytes), times };
}

module.exports = { run };

if (require.main === module) {
  const [megabytes = 100, workers = 4] = process.argv.slice(2).map(Number);
  run(connect(), { megabytes, workers }).then(
    (report) => console.log(JSON.stringify(report, null, 2)),
    (error) => {
      console.error(error.message);
      process.exitCode = 1;
    });
}
