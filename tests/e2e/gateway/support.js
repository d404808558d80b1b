// What the suites share: two clients, and checks of refusals. The gateway and its keys come from
// the environment: F3_GATEWAY, F3_KEY, F3_OTHER_KEY.
'use strict'

const assert = require('assert')
const openwhisk = require('openwhisk')

const client = (key) => openwhisk({ apihost: process.env.F3_GATEWAY, api_key: key, namespace: '_' })
const ow = client(process.env.F3_KEY)
const other = client(process.env.F3_OTHER_KEY)

// The call is refused with this HTTP status, and the text matches. The client's error is returned.
async function refused (call, status, text = /./) {
  try {
    await call
  } catch (error) {
    assert.strictEqual(error.statusCode, status, String(error))
    assert.match(String(error.message), text)
    return error
  }
  assert.fail(`accepted instead of ${status}`)
}

// Polls as clients do, until the activation is over.
async function over (id) {
  for (let i = 0; i < 600; i++) {
    try {
      return await ow.activations.get(id)
    } catch (error) {
      if (error.statusCode !== 404) throw error
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
  assert.fail(`activation ${id} does not end`)
}

const annotation = (entity, key) => (entity.annotations.find((a) => a.key === key) || {}).value

// Runs the suite's cases in their order and says which failed.
async function suite (cases) {
  for (const [name, run] of Object.entries(cases)) {
    try {
      await run()
      console.log(`ok ${name}`)
    } catch (error) {
      console.error(`FAILED ${name}: ${error.stack}`)
      process.exit(1)
    }
  }
}

module.exports = { assert, openwhisk, ow, other, client, refused, over, annotation, suite }
