// Activations: list, get, logs, result.
'use strict'

const { assert, ow, other, refused, suite } = require('./support')

const ids = []

suite({
  'make some': async () => {
    await ow.actions.create({ name: 'one', action: 'function main (a) { return { n: a.n } }' })
    for (const n of [1, 2, 3]) {
      ids.unshift((await ow.actions.invoke({ name: 'one', blocking: true, params: { n } })).activationId)
    }
  },
  'list': async () => {
    const list = await ow.activations.list({ name: 'one' })
    assert.deepStrictEqual(list.map((a) => a.activationId), ids)
    assert.strictEqual(list[0].response, undefined)
    assert.strictEqual((await ow.activations.list({ name: 'one', limit: 2 })).length, 2)
    assert.strictEqual((await ow.activations.list({ name: 'one', skip: 2 })).length, 1)
    assert.strictEqual((await ow.activations.list({ name: 'one', docs: true }))[0].response.result.n, 3)
    assert.strictEqual((await ow.activations.list({ name: 'one', count: true })).activations, 3)
    const middle = list[1].start
    const since = await ow.activations.list({ name: 'one', since: middle })
    assert.ok(since.every((a) => a.start >= middle) && since.length >= 2)
    const upto = await ow.activations.list({ name: 'one', upto: middle })
    assert.ok(upto.every((a) => a.start <= middle) && upto.length >= 2)
    await refused(ow.activations.list({ limit: 1000 }), 400)
  },
  'get, result, logs': async () => {
    assert.strictEqual((await ow.activations.get({ activationId: ids[0] })).response.result.n, 3)
    assert.deepStrictEqual((await ow.activations.result(ids[0])).result, { n: 3 })
    assert.deepStrictEqual((await ow.activations.logs(ids[0])).logs, [])
    await refused(ow.activations.get('0'.repeat(32)), 404)
  },
  'of others': async () => {
    assert.deepStrictEqual(await other.activations.list(), [])
    await refused(other.activations.get(ids[0]), 404)
  }
})
