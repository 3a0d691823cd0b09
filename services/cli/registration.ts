import { hexlify } from 'ethers'
import {
  GranaryError,
  jurisdictionsMask,
  type ModelManifest,
  purposesMask,
  type Terms,
  termsFlags,
  withdrawalPolicies,
} from '../sdk/index.ts'
import { amount, argument, type Command, flag, open, readBytes, readJson } from './invocation.ts'

/** Chapters 2 and 3: what is contributed, and what is derived from it. */
export const registrationCommands: Record<string, Command> = {
  'consent register': {
    usage: 'consent register FILE --terms TERMS.json --title T --licence L --description D [--recovery ADDRESS] --key-file F',
    says: 'encrypts a file, puts it to IPFS and registers it under terms; prints the key that opens it, once',
    async run(invocation) {
      const recovery = invocation.flags.recovery
      const dataset = await (await open(invocation)).consent.register({
        bytes: readBytes(argument(invocation, 0, 'FILE')),
        title: flag(invocation, 'title'),
        licence: flag(invocation, 'licence'),
        description: flag(invocation, 'description'),
        terms: readTerms(flag(invocation, 'terms')),
        ...(typeof recovery === 'string' ? { recovery } : {}),
      })
      const value = { ...dataset, contentKey: hexlify(dataset.contentKey) }
      return { lines: [`dataset ${dataset.datasetId}`, `content key, which nobody else has: ${value.contentKey}`], value }
    },
  },
  'consent leave-pool': {
    usage: 'consent leave-pool POOL --key-file F',
    says: 'takes your data out of a pool, without a proof that it was in',
    async run(invocation) {
      const relayed = await (await open(invocation)).consent.leavePool(argument(invocation, 0, 'POOL'))
      return { lines: [`left in block ${relayed.block}`], value: relayed }
    },
  },
  'model register': {
    usage: 'model register MANIFEST.json --lineage LINEAGE.json --key-file F',
    says: 'publishes a manifest, whose files are on IPFS already, and registers the model with its lineage',
    async run(invocation) {
      const manifest = readJson(argument(invocation, 0, 'MANIFEST.json')) as unknown as ModelManifest
      const lineage = readLineage(flag(invocation, 'lineage'))
      const registered = await (await open(invocation)).derive.register({ manifest, ...lineage })
      return { lines: [`model ${registered.modelId}`], value: registered }
    },
  },
}

/** The file has names where the chain has masks; what is left out is 0, none, or anywhere. */
function readTerms(path: string): Terms {
  const terms = readJson(path)
  const names = (field: string): string[] => {
    const value = terms[field] ?? []
    if (Array.isArray(value) && value.every((name) => typeof name === 'string')) return value
    throw new GranaryError('request.malformed', `${path}: ${field} is a list of names.`)
  }
  const whole = (field: string): number => integerIn(path, { field, value: terms[field] ?? 0 })
  const withdrawal = withdrawalPolicies.find((policy) => policy === (terms.withdrawal ?? 'stop'))
  if (!withdrawal) throw new GranaryError('request.malformed', `${path}: withdrawal is one of ${withdrawalPolicies.join(', ')}.`)
  const flags = names('flags').reduce((mask, name) => {
    if (!Object.hasOwn(termsFlags, name))
      throw new GranaryError('request.malformed', `${path}: flags are among ${Object.keys(termsFlags).join(', ')}.`)
    return mask | termsFlags[name as keyof typeof termsFlags]
  }, 0)
  return {
    validFrom: whole('validFrom'),
    validUntil: whole('validUntil'),
    purposes: purposesMask(names('purposes')),
    prohibitions: purposesMask(names('prohibitions')),
    flags,
    noticeSeconds: whole('noticeSeconds'),
    royaltyPpm: whole('royaltyPpm'),
    withdrawal,
    sunsetSeconds: whole('sunsetSeconds'),
    retrainSeconds: whole('retrainSeconds'),
    floorPrice: amount(terms.floorPrice ?? '0', 'floorPrice'),
    jurisdictions: jurisdictionsMask(terms.jurisdictions === undefined ? 'anywhere' : names('jurisdictions')),
  }
}

function readLineage(path: string) {
  const { datasets = [], parents = [], purposes, authorPpm = 0, derivativePpm = 0 } = readJson(path)
  if (!Array.isArray(datasets) || !Array.isArray(parents) || !Array.isArray(purposes))
    throw new GranaryError('request.malformed', `${path}: datasets, parents and purposes are lists.`)
  return {
    datasets: datasets.map(({ datasetId, ppm }) => ({
      datasetId: String(datasetId),
      ppm: integerIn(path, { field: 'ppm', value: ppm }),
    })),
    parents: parents.map(String),
    purposes: purposesMask(purposes.map(String)),
    authorPpm: integerIn(path, { field: 'authorPpm', value: authorPpm }),
    derivativePpm: integerIn(path, { field: 'derivativePpm', value: derivativePpm }),
  }
}

function integerIn(path: string, { field, value }: { field: string; value: unknown }): number {
  if (Number.isInteger(value) && Number(value) >= 0) return Number(value)
  throw new GranaryError('request.malformed', `${path}: ${field} is a whole number, not ${JSON.stringify(value)}.`)
}
