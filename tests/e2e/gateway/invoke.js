// Invocations of every mode, in Node and Python, and how they fail.
'use strict'

const { assert, ow, refused, over, annotation, suite } = require('./support')

const node = {
  echo: 'function main (args) { return args }',
  fail: 'function main () { throw new Error("broken on purpose") }',
  error: 'function main () { return { error: { message: "no", code: 7 } } }',
  log: 'function main () { console.log("to stdout"); console.error("to stderr"); return {} }',
  sleep: 'function main (a) { return new Promise((resolve) => setTimeout(() => resolve({ slept: a.ms }), a.ms)) }',
  huge: 'function main () { return { text: "x".repeat(2000000) } }',
  exit: 'function main () { process.exit(3) }',
  syntax: 'function main ( {'
}
const python = 'import os\n\ndef main(args):\n    return {"sum": args["a"] + args["b"], "name": os.environ["__OW_ACTION_NAME"]}\n'

suite({
  'deploy': async () => {
    for (const [name, action] of Object.entries(node)) await ow.actions.create({ name, action })
    await ow.actions.create({ name: 'add', action: python, kind: 'python:3', params: { b: 1 } })
    await ow.actions.update({ name: 'short', action: node.sleep, limits: { timeout: 300 } })
  },
  'blocking': async () => {
    const activation = await ow.actions.invoke({ name: 'echo', blocking: true, params: { x: 'é', n: [1, null] } })
    assert.deepStrictEqual(activation.response.result, { x: 'é', n: [1, null] })
    assert.strictEqual(activation.response.status, 'success')
    assert.ok(annotation(activation, 'initTime') > 0)
    assert.ok(annotation(activation, 'f3-locality').node)
    assert.ok(activation.end >= activation.start)
    assert.strictEqual(activation.duration, activation.end - activation.start)
  },
  'warm': async () => {
    const activation = await ow.actions.invoke({ name: 'echo', blocking: true })
    assert.strictEqual(annotation(activation, 'initTime'), undefined)
  },
  'result': async () => {
    const result = await ow.actions.invoke({ name: 'add', blocking: true, result: true, params: { a: 2 } })
    assert.deepStrictEqual(result, { sum: 3, name: '/guest/add' })
  },
  'asynchronous': async () => {
    const { activationId } = await ow.actions.invoke({ name: 'sleep', params: { ms: 200 } })
    const activation = await over(activationId)
    assert.strictEqual(activation.response.result.slept, 200)
    assert.strictEqual(activation.name, 'sleep')
  },
  'application error': async () => {
    const error = await refused(ow.actions.invoke({ name: 'error', blocking: true }), 502)
    assert.strictEqual(error.error.response.statusCode, 1)
    assert.deepStrictEqual(error.error.response.result, { error: { message: 'no', code: 7 } })
  },
  'exceptions': async () => {
    const error = await refused(ow.actions.invoke({ name: 'fail', blocking: true }), 502)
    assert.notStrictEqual(error.error.response.statusCode, 0)
    const { logs } = await ow.activations.logs(error.error.activationId)
    assert.match(logs.join('\n'), /broken on purpose/)
  },
  'code that does not compile': async () => {
    const error = await refused(ow.actions.invoke({ name: 'syntax', blocking: true }), 502)
    assert.strictEqual(error.error.response.statusCode, 2)
  },
  'an action that exits': async () => {
    const error = await refused(ow.actions.invoke({ name: 'exit', blocking: true }), 502)
    assert.strictEqual(error.error.response.statusCode, 2)
  },
  'logs': async () => {
    const { activationId } = await ow.actions.invoke({ name: 'log', blocking: true })
    const { logs } = await ow.activations.logs({ name: activationId })
    assert.match(logs.join('\n'), /stdout: to stdout/)
    assert.match(logs.join('\n'), /stderr: to stderr/)
  },
  'time limit': async () => {
    const error = await refused(ow.actions.invoke({ name: 'short', blocking: true, params: { ms: 5000 } }), 502)
    assert.match(error.error.response.result.error, /300 milliseconds/)
    assert.strictEqual(annotation(error.error, 'timeout'), true)
    const again = await ow.actions.invoke({ name: 'short', blocking: true, params: { ms: 1 } })
    assert.strictEqual(again.response.result.slept, 1)
  },
  'a result that is too large': async () => {
    const error = await refused(ow.actions.invoke({ name: 'huge', blocking: true }), 502)
    assert.strictEqual(error.error.response.statusCode, 1)
    assert.match(error.error.response.result.error, /xxxx/)
  },
  'arguments that are too large': () =>
    refused(ow.actions.invoke({ name: 'echo', blocking: true, params: { t: 'x'.repeat(1100000) } }), 413),
  'many at once': async () => {
    const all = await Promise.all([...Array(12).keys()].map((i) =>
      ow.actions.invoke({ name: 'echo', blocking: true, result: true, params: { i } })))
    assert.deepStrictEqual(all.map((r) => r.i), [...Array(12).keys()])
  }
})
