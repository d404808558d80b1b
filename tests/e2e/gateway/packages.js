// Packages, bindings with parameters, and sequences.
'use strict'

const { assert, ow, other, refused, annotation, suite } = require('./support')

const echo = 'function main (args) { return args }'
const increment = 'function main (args) { return { n: args.n + 1 } }'
const pairs = (object) => Object.entries(object).map(([key, value]) => ({ key, value }))

suite({
  'package': async () => {
    await ow.packages.create({ name: 'lib', package: { parameters: pairs({ a: 'package', b: 'package', c: 'package', d: 'package' }) } })
    await ow.actions.create({ name: 'lib/echo', action: echo, params: { c: 'action', d: 'action' } })
    const got = await ow.packages.get('lib')
    assert.deepStrictEqual(got.actions.map((a) => a.name), ['echo'])
    assert.strictEqual((await ow.packages.list()).length, 1)
    await refused(ow.packages.create({ name: 'lib' }), 409)
    await refused(ow.packages.delete('lib'), 409)
    await refused(ow.actions.create({ name: 'none/echo', action: echo }), 404)
  },
  'private until it is published': async () => {
    await refused(other.actions.invoke({ name: '/guest/lib/echo', blocking: true }), 403)
    await ow.packages.update({ name: 'lib', package: { publish: true } })
  },
  'binding': async () => {
    await other.packages.create({
      name: 'bound',
      package: { binding: { namespace: 'guest', name: 'lib' }, parameters: pairs({ b: 'binding', c: 'binding' }) }
    })
    const activation = await other.actions.invoke({ name: 'bound/echo', blocking: true, params: { d: 'call' } })
    assert.deepStrictEqual(activation.response.result, { a: 'package', b: 'binding', c: 'action', d: 'call' })
    assert.strictEqual(annotation(activation, 'path'), 'guest/lib/echo')
    assert.strictEqual(activation.namespace, 'other')
    await other.packages.delete('bound')
  },
  'sequences': async () => {
    await ow.actions.create({ name: 'inc', action: increment })
    await ow.actions.create({ name: 'twice', sequence: ['/_/inc', '/guest/inc'] })
    await ow.actions.create({ name: 'four', sequence: ['/_/twice', '/_/twice'] })
    const activation = await ow.actions.invoke({ name: 'four', blocking: true, params: { n: 1 } })
    assert.strictEqual(activation.response.result.n, 5)
    assert.strictEqual(activation.logs.length, 2)
    const inner = await ow.activations.get(activation.logs[0])
    assert.strictEqual(inner.cause, activation.activationId)
    assert.strictEqual(annotation(inner, 'causedBy'), 'sequence')
    assert.strictEqual((await ow.activations.get(inner.logs[1])).response.result.n, 3)
    const got = await ow.actions.get('twice')
    assert.deepStrictEqual(got.exec, { kind: 'sequence', components: ['/guest/inc', '/guest/inc'] })
  },
  'a step that fails ends the sequence': async () => {
    await ow.actions.create({ name: 'bad', action: 'function main () { return { error: "here" } }' })
    await ow.actions.create({ name: 'broken', sequence: ['/_/inc', '/_/bad', '/_/inc'] })
    const error = await refused(ow.actions.invoke({ name: 'broken', blocking: true, params: { n: 1 } }), 502)
    assert.strictEqual(error.error.response.result.error, 'here')
    assert.strictEqual(error.error.logs.length, 2)
  }
})
