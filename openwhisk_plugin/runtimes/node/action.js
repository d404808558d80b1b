'use strict';
// Loads an action, source text or a zip file in base64, and calls it. One per process.

const fs = require('fs');
const Module = require('module');
const path = require('path');

// What may name a function: `main`, `handlers.first`.
const NAME = /^[A-Za-z_$][\w$]*(\.[A-Za-z_$][\w$]*)*$/;

// The function of the source text that `main` names: one of its own, or one that it exports.
function loadText(directory, code, main) {
  const file = path.join(directory, 'action.js');
  fs.writeFileSync(file, code);
  const module = new Module(file, null);
  module.filename = file;
  module.paths = Module._nodeModulePaths(directory);
  const first = main.split('.')[0];
  // In the text's own scope, where functions and constants can be seen that it does not export.
  const found = `;module.f3Main = typeof ${first} === 'undefined' ? undefined : ${main};`;
  module._compile(`${code}\n${found}`, file);
  return module.f3Main === undefined ? memberOf(module.exports, main) : module.f3Main;
}

// What a dotted name means in `object`; undefined where there is nothing.
function memberOf(object, name) {
  return name.split('.').reduce(
    (value, part) => (value === undefined || value === null ? undefined : value[part]), object);
}

async function loadZip(directory, code, main) {
  require('./unzip').unzip(Buffer.from(code, 'base64'), directory);
  if (!['package.json', 'index.js', 'index.mjs'].some(
    (name) => fs.existsSync(path.join(directory, name)))) {
    throw new Error('the zip file has neither package.json nor index.js at its top');
  }
  let exported;
  try {
    exported = require(directory);
  } catch (error) {
    if (error.code !== 'ERR_REQUIRE_ESM') throw error;
    exported = await import(require.resolve(directory));
  }
  const found = memberOf(exported, main);
  return found === undefined ? memberOf(exported.default, main) : found;
}

// Resolves to the action's function. Rejects with what its module throws.
async function load(directory, { code, binary, main }) {
  const name = main || 'main';
  if (!NAME.test(name)) throw new Error(`"${name}" does not name a function`);
  fs.mkdirSync(directory, { recursive: true });
  process.chdir(directory);
  const found = await (binary ? loadZip : loadText)(process.cwd(), code, name);
  if (typeof found !== 'function') throw new Error(`the action has no function "${name}"`);
  return found;
}

// An error as JSON: its own members would not show name and message.
function errorValue(error) {
  if (error === undefined || error === null) return {};
  if (!(error instanceof Error)) return error;
  return { name: error.name, message: error.message, stack: error.stack, ...error };
}

// Resolves to what the action returns, {} for undefined, {error} for a promise that it rejects.
// Rejects with what it throws before it returns.
async function call(action, args) {
  const returned = action(args); // a throw here is the caller's to report
  try {
    const value = await returned;
    return value === undefined ? {} : value;
  } catch (error) {
    if (error instanceof Error) console.error(error);
    return { error: errorValue(error) };
  }
}

module.exports = { call, load };
