// Actions that share files of F3, and where they run.
'use strict'

const { assert, ow, other, annotation, suite } = require('./support')

const mounts = [{ volume: 'default', path: '/mnt/f3', mode: 'rw' }]
const write = 'def main(args):\n' +
  '    with open(args["path"], "wb") as f:\n        f.write(b"x" * args["bytes"])\n' +
  '    return {"path": args["path"]}\n'
const read = 'const fs = require("fs")\n' +
  'function main (args) { return { bytes: fs.statSync(args.path).size, last: fs.readFileSync(args.path).slice(-1).toString() } }'
const list = 'const fs = require("fs")\nfunction main () { return { names: fs.readdirSync("/mnt/f3") } }'
const bytes = 64 * 1024 * 1024

suite({
  'deploy': async () => {
    const annotations = { 'f3-mounts': mounts, 'f3-hints': { class: 'ephemeral' } }
    await ow.actions.create({ name: 'write', action: write, kind: 'python:3', annotations })
    await ow.actions.create({ name: 'read', action: read, annotations })
    await ow.actions.create({ name: 'chain', sequence: ['/_/write', '/_/read'] })
    await other.actions.create({ name: 'list', action: list, annotations })
  },
  'Node reads what Python wrote, where it was written': async () => {
    const chain = await ow.actions.invoke({ name: 'chain', blocking: true, params: { path: '/mnt/f3/a.bin', bytes } })
    assert.deepStrictEqual(chain.response.result, { bytes, last: 'x' })
    const [first, second] = await Promise.all(chain.logs.map((id) => ow.activations.get(id)))
    const locality = annotation(second, 'f3-locality')
    assert.strictEqual(locality.hit, true)
    assert.strictEqual(locality.node, annotation(first, 'f3-locality').node)
    assert.strictEqual(locality.bytes, bytes)
    assert.strictEqual(locality.pulled, 0)
  },
  'another namespace sees none of it': async () => {
    const result = await other.actions.invoke({ name: 'list', blocking: true, result: true })
    assert.deepStrictEqual(result.names, [])
  },
  'a workflow has a directory of its own, which goes with it': async () => {
    const annotations = { 'f3-mounts': [{ path: '/mnt/f3', lifetime: 'workflow' }], 'f3-hints': { class: 'ephemeral' } }
    await ow.actions.create({ name: 'wwrite', action: write, kind: 'python:3', annotations })
    await ow.actions.create({ name: 'wlist', action: list, annotations })
    await ow.actions.create({ name: 'wchain', sequence: ['/_/wwrite', '/_/wlist'] })
    const params = { path: '/mnt/f3/own.bin', bytes: 10 }
    const chain = await ow.actions.invoke({ name: 'wchain', blocking: true, result: true, params })
    assert.deepStrictEqual(chain.names, ['own.bin'])
    const alone = await ow.actions.invoke({ name: 'wlist', blocking: true, result: true })
    assert.deepStrictEqual(alone.names, [])
  }
})
