import { randomBytes } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { computeAddress } from 'ethers'

/** The first account of the mnemonic that every development chain prefunds: public, worthless, used to hand out gas. */
export const DEV_ACCOUNT_KEY = '0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80'

/**
 * `collector` signs receipts and settles; `relayer` pays gas for others' signed acts; `operator` stakes for the local
 * provider, whose worker signs with `session` and whose content keys would be sealed to `sealing`; the members are the cooperative's first. `master` only encrypts.
 */
export const KEY_NAMES = [
  'deployer',
  'collector',
  'relayer',
  'registrar',
  'guardian',
  'operator',
  'session',
  'sealing',
  'member-1',
  'member-2',
  'member-3',
  'member-4',
  'member-5',
  'master',
] as const
export type KeyName = (typeof KEY_NAMES)[number]

export interface LocalKey {
  path: string
  key: string
  address: string
}
export type LocalKeys = Record<KeyName, LocalKey>

/** Random keys in files that only their owner reads; made once. */
export function openKeys(dir: string): LocalKeys {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  chmodSync(dir, 0o700)
  return Object.fromEntries(KEY_NAMES.map((name) => [name, openKey(join(dir, `${name}.key`))])) as LocalKeys
}

function openKey(path: string): LocalKey {
  if (!existsSync(path)) {
    writeFileSync(`${path}.tmp`, `0x${randomBytes(32).toString('hex')}\n`, { mode: 0o600 })
    renameSync(`${path}.tmp`, path)
  }
  const key = readFileSync(path, 'utf8').trim()
  return { path, key, address: computeAddress(key).toLowerCase() }
}
