// Compiles every contract of src/ and writes one artefact for each to artifacts/.
//
//   node compile.mjs           writes the artefacts
//   node compile.mjs --check   writes nothing; exits 1 and names each artefact that differs
//
// The same sources and the same compiler give the same bytes on every machine: the compiler is the WebAssembly
// build pinned in package-lock.json, sources are named by their place in this folder, and no metadata hash is
// put into the code.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

import solc from 'solc'

const HERE = dirname(fileURLToPath(import.meta.url))
const SOURCES = join(HERE, 'src')
const ARTEFACTS = join(HERE, 'artifacts')

const SETTINGS = {
  optimizer: { enabled: true, runs: 1_000_000 },
  viaIR: true,
  evmVersion: 'prague',
  metadata: { bytecodeHash: 'none' },
  outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object', 'evm.deployedBytecode.object'] } },
}

/** The names in a folder that end in `suffix`, sorted; none where there is no such folder. */
function list(folder, suffix) {
  try {
    return readdirSync(folder).filter(name => name.endsWith(suffix)).sort()
  } catch (error) {
    if (error.code === 'ENOENT') return []
    throw error
  }
}

/** Compiles all of src/ and gives the compiler's output. Warnings count as errors. */
function compile() {
  const sources = {}
  for (const name of list(SOURCES, '.sol'))
    sources[`src/${name}`] = { content: readFileSync(join(SOURCES, name), 'utf8').replaceAll('\r\n', '\n') }
  const input = { language: 'Solidity', sources, settings: SETTINGS }
  const output = JSON.parse(solc.compile(JSON.stringify(input)))
  const complaints = (output.errors ?? []).filter(({ severity }) => severity !== 'info')
  if (complaints.length > 0) {
    for (const { formattedMessage } of complaints) console.error(formattedMessage)
    fail(`src/ does not compile cleanly: ${complaints.length} errors or warnings, see above`)
  }
  return output
}

/** File name to file text, for every contract that can be deployed. */
function artefacts(output) {
  const files = new Map()
  for (const source of Object.keys(output.contracts).sort())
    for (const [contractName, { abi, evm }] of Object.entries(output.contracts[source])) {
      // Interfaces and abstract contracts have no code.
      if (evm.bytecode.object === '') continue
      const file = `${contractName}.json`
      if (files.has(file)) fail(`two contracts are named ${contractName}; the second is in ${source}`)
      const artefact = {
        contractName,
        compiler: solc.version(),
        abi,
        bytecode: `0x${evm.bytecode.object}`,
        deployedBytecode: `0x${evm.deployedBytecode.object}`,
      }
      files.set(file, `${JSON.stringify(artefact, null, 2)}\n`)
    }
  return files
}

/** The text of a checked-in artefact, or null. */
function checkedIn(file) {
  try {
    return readFileSync(join(ARTEFACTS, file), 'utf8').replaceAll('\r\n', '\n')
  } catch (error) {
    if (error.code === 'ENOENT') return null
    throw error
  }
}

function check(files) {
  const complaints = []
  for (const [file, text] of files) {
    const present = checkedIn(file)
    if (present === null) complaints.push(`${file} is missing`)
    else if (present !== text) complaints.push(`${file} differs from its source`)
  }
  for (const file of list(ARTEFACTS, '.json'))
    if (!files.has(file)) complaints.push(`${file} belongs to no contract`)
  if (complaints.length > 0) {
    for (const complaint of complaints) console.error(`artifacts/${complaint}`)
    fail('run `npm run build` in contracts/ and check in what it writes')
  }
  console.log(`${files.size} artefacts match their sources (solc ${solc.version()})`)
}

function write(files) {
  mkdirSync(ARTEFACTS, { recursive: true })
  for (const file of list(ARTEFACTS, '.json')) if (!files.has(file)) rmSync(join(ARTEFACTS, file))
  for (const [file, text] of files) writeFileSync(join(ARTEFACTS, file), text)
  console.log(`wrote ${[...files.keys()].join(', ')} (solc ${solc.version()})`)
}

function fail(message) {
  console.error(message)
  process.exit(1)
}

const options = process.argv.slice(2)
if (options.some(option => option !== '--check')) fail(`unknown option in: ${options.join(' ')}; only --check is known`)
const files = artefacts(compile())
if (options.includes('--check')) check(files)
else write(files)
