#!/usr/bin/env node
// The pinned compiler under the command line that forge expects of a solc executable:
//
//   solc.mjs --version         two lines, the second with the version
//   solc.mjs --standard-json   standard JSON in, standard JSON out
//
// So forge compiles with the very compiler that makes the artefacts, and downloads nothing.

import { readFileSync } from 'node:fs'

import solc from 'solc'

const options = process.argv.slice(2)
if (options.includes('--version')) {
  console.log('solc, the solidity compiler commandline interface')
  console.log(`Version: ${solc.version()}`)
} else if (options.includes('--standard-json')) {
  process.stdout.write(solc.compile(readFileSync(0, 'utf8')))
} else {
  console.error(`solc.mjs knows --version and --standard-json, not: ${options.join(' ')}`)
  process.exitCode = 1
}
