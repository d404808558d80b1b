'use strict';
// Pass large values between serverless functions by reference.
//
//   const f3 = require('f3');
//   const reference = await f3.put(buffer, { retrievals: 3 }); // text, at most 256 characters
//   const value = await f3.get(reference);                     // in another function, on any node
//
// What get resolves to is a Buffer over shared memory, not a copy. It cannot be changed: a write to it
// ends the process (copy with Buffer.from(value) what you want to change). The memory is given back
// when the Buffer and everything made of it have been collected.
//
// Failures reject with an Error whose `code` is the number that xdt.h names. Times are in seconds.

const addon = require('./f3.node');

const UNLIMITED = 0xffffffff;
const DEFAULT_TIMEOUT_S = 10;

const milliseconds = (seconds) => Math.max(0, Math.floor(seconds * 1000));

function bytesOf(value) {
  if (typeof value === 'string') return Buffer.from(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  throw new TypeError('put takes a Buffer, a typed array, an ArrayBuffer or a string');
}

// A reference to a copy of the bytes. lifetime: 0 is the node's default. retrievals: how often it can
// be got. action: the only action of the namespace that may get it. The bytes must not be changed
// until the promise is settled.
async function put(value, options = {}) {
  const { lifetime = 0, retrievals = 1, action = '', timeout = DEFAULT_TIMEOUT_S } = options;
  return addon.put(bytesOf(value), milliseconds(lifetime), retrievals, action,
    milliseconds(timeout));
}

// The whole value.
async function get(reference, { timeout = DEFAULT_TIMEOUT_S } = {}) {
  return Buffer.from(await addon.get(reference, milliseconds(timeout)));
}

// No retrieval any more.
async function remove(reference, { timeout = DEFAULT_TIMEOUT_S } = {}) {
  return addon.remove(reference, milliseconds(timeout));
}

module.exports = { UNLIMITED, get, put, remove };
