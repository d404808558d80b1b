// The example workflow: deployed, run and removed by its own programs.
'use strict'

const { assert, ow, suite } = require('./support')
const { deploy, remove } = require('../../../openwhisk_plugin/examples/deploy')
const { run } = require('../../../openwhisk_plugin/examples/run')

const ResultLimit = 1 << 20

suite({
  'deploys eight actions and a sequence': async () => {
    const names = await deploy(ow)
    assert.strictEqual(names.length, 9)
    const listed = (await ow.actions.list()).map((action) => action.name)
    assert.deepStrictEqual([...listed].sort(), [...names].sort())
  },
  'split, three workers, merge and report': async () => {
    const report = await run(ow, { megabytes: 30, workers: 3, id: 'example' })
    assert.ok(report.bytes >= 30 << 20)
    assert.strictEqual(report.counts_bytes.length, 3)
    // What could not have been a result: it travels by reference.
    for (const bytes of report.counts_bytes) assert.ok(bytes > ResultLimit, `${bytes} bytes`)
    console.log(JSON.stringify(report))
  },
  'no step passed more than some kilobytes': async () => {
    const activations = await ow.activations.list({ limit: 50, docs: true })
    assert.ok(activations.length >= 7)
    for (const { name, response } of activations) {
      assert.ok(response.success, name)
      assert.ok(JSON.stringify(response.result).length < 4096, name)
    }
  },
  'removes them again': async () => {
    await remove(ow)
    assert.deepStrictEqual(await ow.actions.list(), [])
  }
})
