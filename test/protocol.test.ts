import { globSync, readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { concat, keccak256, TypedDataEncoder, type TypedDataField, verifyTypedData } from 'ethers'
import { describe, expect, it } from 'vitest'
import { page, withExamples } from '../scripts/protocol-examples.ts'
import { type ErrorCode, GranaryError } from '../services/core/errors.ts'
import { messages } from '../services/core/messages.ts'
import { sessionHeaders } from '../services/core/sessions.ts'

const root = resolve(import.meta.dirname, '..')
const read = (path: string) => readFileSync(resolve(root, path), 'utf8')
const protocol = readFileSync(page, 'utf8')

interface Example {
  type: string
  value: Record<string, unknown>
  structHash: string
  digest: string
  signature: string
}

interface ReceiptExample {
  head: string
  path: string[]
  signedRoot: string
  collectorSignature: string
}

describe('docs/PROTOCOL.md', () => {
  it('holds the examples that the code makes, to the byte', () => {
    expect(withExamples(protocol)).toBe(protocol)
  })

  it('has an example of every message, which verifies without our own encoding', () => {
    const signer = /\(address `(0x[0-9a-f]{40})`\)/.exec(protocol)?.[1]
    for (const [contract, byName] of Object.entries(messages)) {
      const heading = new RegExp(`Domain "([^"]+)", version "([^"]+)", at \`(0x[0-9a-f]{40})\` \\(${contract}\\)`).exec(protocol)
      const [, domainName = '', version = '', verifyingContract = ''] = heading ?? []
      const domain = { name: domainName, version, chainId: 31_337n, verifyingContract }
      for (const [name, fields] of Object.entries<readonly TypedDataField[]>(byName)) {
        const { type, value, structHash, digest, signature } = exampleOf(contract, name)
        const types = { [name]: [...fields] }
        expect(type).toBe(`${name}(${fields.map((field) => `${field.type} ${field.name}`).join(',')})`)
        expect(TypedDataEncoder.hashStruct(name, types, value)).toBe(structHash)
        expect(TypedDataEncoder.hash(domain, types, value)).toBe(digest)
        expect(verifyTypedData(domain, types, value, signature).toLowerCase()).toBe(signer)
      }
    }
  })

  it('leads from a receipt to the root that is signed, as its words say', () => {
    const derived = /### Derived values\n\n```json\n([\s\S]*?)\n```/.exec(protocol)?.[1] ?? '{}'
    const { head, path, signedRoot, collectorSignature } = (JSON.parse(derived) as { receipt: ReceiptExample }).receipt
    const both = (one: string, other: string) => keccak256(one < other ? concat([one, other]) : concat([other, one]))
    expect(path.length).toBeGreaterThan(1)
    expect(path.reduce(both, keccak256(head))).toBe(signedRoot)
    expect(head).toBe(exampleOf('InferenceEscrow', 'Receipt').structHash)
    const { value, signature } = exampleOf('InferenceEscrow', 'Receipts')
    expect([value.root, signature]).toEqual([signedRoot, collectorSignature])
  })

  it('lists every error code with its status and whether a repeat may succeed', () => {
    const codes = [...read('services/core/errors.ts').matchAll(/^ {2}'?([a-z][a-z.-]+)'?: \{(?: status|$)/gm)].map(
      ([, code]) => code,
    )
    expect(codes.length).toBeGreaterThan(30)
    const rows = [...protocol.matchAll(/^\| `([a-z][a-z.-]+)` \| (\d+) \| (yes|no) \|/gm)].map(([, ...cells]) => cells)
    const expected = codes.map((code) => {
      const { status, retryable } = new GranaryError(code as ErrorCode, '')
      return [code, String(status), retryable ? 'yes' : 'no']
    })
    expect(rows).toEqual(expected)
  })

  it('lists every route of the gateway, and no other', () => {
    const sources = globSync('services/gateway/{routes/*,main}.ts', { cwd: root }).map(read).join('\n')
    const routes = [...sources.matchAll(/\b(?:app|scope)\.(get|post|delete)(?:<[^(]*>)?\('([^']+)'/g)].map(
      ([, method = '', path]) => `${method.toUpperCase()} ${path}`,
    )
    const listed = [...protocol.matchAll(/^\| `((?:GET|POST|DELETE) [^`]+)` \|/gm)].map(([, route]) => route)
    expect(listed.sort()).toEqual(routes.sort())
  })

  it('names the headers of a session', () => {
    for (const header of Object.values(sessionHeaders)) expect(protocol.toLowerCase()).toContain(`\`${header}\``)
  })
})

describe('the other pages', () => {
  const pages = ['README.md', 'SECURITY.md', 'CONTRIBUTING.md', 'NOTICE', ...globSync('docs/**/*.md', { cwd: root })]

  it('link to files that are there', () => {
    const links = pages.flatMap((path) =>
      [...read(path).matchAll(/\]\(([^)#:\s]+)(?:#[^)]*)?\)/g)].map(([, target = '']) => ({ path, target })),
    )
    const broken = links.filter(({ path, target }) => globSync(target, { cwd: resolve(root, dirname(path)) }).length === 0)
    expect(broken).toEqual([])
  })

  it('name every setting of every process', () => {
    const operations = read('docs/OPERATIONS.md')
    const sources = [...globSync('services/*/config.ts', { cwd: root }), 'services/adapters/settings.ts', 'scripts/start.ts']
    const setting = /\benv(?:,|: [^,)]*,) (?:name = )?'([A-Z_]+)'|\benv\.([A-Z_]+)/g
    const names = sources.flatMap((path) => [...read(path).matchAll(setting)].map(([, named, dotted]) => named ?? dotted))
    expect(names.length).toBeGreaterThan(30)
    expect([...new Set(names)].filter((name) => !operations.includes(`\`${name}\``))).toEqual([])
  })
})

function exampleOf(contract: string, name: string): Example {
  const section = protocol.slice(protocol.indexOf(`(${contract})\n`))
  const json = new RegExp(`#### ${name}\\n\\n\`\`\`json\\n([\\s\\S]*?)\\n\`\`\``).exec(section)?.[1]
  return JSON.parse(json ?? '{}') as Example
}
