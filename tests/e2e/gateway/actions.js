// Actions: create, update, get, list, delete; what is refused.
'use strict'

const { assert, client, ow, refused, annotation, suite } = require('./support')

const code = 'function main (args) { return { hello: args.name || "nobody" } }'

suite({
  'create and get': async () => {
    const made = await ow.actions.create({
      name: 'hello',
      action: code,
      kind: 'nodejs:default',
      params: { name: 'default' },
      annotations: { note: { a: [1] }, drop: true },
      limits: { timeout: 10000, memory: 128 }
    })
    assert.strictEqual(made.version, '0.0.1')
    assert.strictEqual(made.exec.kind, 'nodejs:18')
    const got = await ow.actions.get({ name: 'hello' })
    assert.strictEqual(got.exec.code, code)
    assert.deepStrictEqual(annotation(got, 'note'), { a: [1] })
    assert.strictEqual(got.limits.timeout, 10000)
    assert.deepStrictEqual(got.parameters, [{ key: 'name', value: 'default' }])
    assert.strictEqual((await ow.actions.get({ name: 'hello', code: false })).exec.code, undefined)
  },
  'create again is a conflict': () => refused(ow.actions.create({ name: 'hello', action: code }), 409),
  'update merges': async () => {
    const updated = await ow.actions.update({ name: 'hello', annotations: { note: 2 } })
    assert.strictEqual(updated.version, '0.0.2')
    assert.strictEqual(annotation(updated, 'note'), 2)
    assert.strictEqual(annotation(updated, 'drop'), true)
    assert.strictEqual(updated.exec.code, code)
  },
  'list, skip, limit, count': async () => {
    await ow.actions.create({ name: 'second', action: code })
    assert.deepStrictEqual((await ow.actions.list()).map((a) => a.name), ['second', 'hello'])
    assert.strictEqual((await ow.actions.list({ limit: 1 })).length, 1)
    assert.strictEqual((await ow.actions.list({ skip: 1 }))[0].name, 'hello')
    assert.strictEqual((await ow.actions.list({ count: true })).actions, 2)
  },
  'namespaces': async () => {
    assert.deepStrictEqual(await ow.namespaces.list(), ['guest'])
    const all = await ow.namespaces.get()
    assert.strictEqual(all.actions.length, 2)
    assert.deepStrictEqual(all.rules, [])
  },
  'delete': async () => {
    await ow.actions.delete('second')
    await refused(ow.actions.get('second'), 404)
    await refused(ow.actions.delete('second'), 404)
    await refused(ow.actions.invoke('second'), 404)
  },
  'a wrong key': () => refused(client('a:b').actions.list(), 401),
  'wrong hints name the field': async () => {
    const deploy = (annotations) => ow.actions.create({ name: 'wrong', action: code, annotations })
    await refused(deploy({ 'f3-hints': { locality: 'near' } }), 400, /f3-hints\.locality/)
    await refused(deploy({ 'f3-mounts': [{ path: 'relative' }] }), 400, /f3-mounts/)
    await refused(deploy({ 'f3-mounts': [{ volume: 'other' }] }), 403, /other/)
  },
  'wrong fields': async () => {
    await refused(ow.actions.create({ name: 'wrong', action: code, kind: 'cobol:60' }), 400, /cobol:60/)
    await refused(ow.actions.create({ name: 'wrong', action: code, limits: { timeout: 1 } }), 400, /timeout/)
    await refused(ow.actions.create({ name: 'wrong', sequence: ['/_/none'] }), 400, /none/)
    await refused(ow.actions.create({ name: 'wrong', action: code, params: { p: 'x'.repeat(1100000) } }), 413)
    await refused(ow.actions.create({ name: '-wrong', action: code }), 400)
  }
})
