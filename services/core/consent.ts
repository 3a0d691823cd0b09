import { AbiCoder, keccak256 } from 'ethers'
import { GranaryError } from './errors.ts'

/** Chapter 2: what people permit, as masks that contracts compare, and when a gateway may rely on what it has seen. */

/** The purposes dictionary at deployment, in bit order; governance may append, never change (CooperativeParameters). */
export const purposeNames = [
  'research',
  'commercial-service',
  'internal-analytics',
  'education',
  'public-interest',
  'healthcare',
  'advertising',
  'surveillance',
] as const

/** What a request is for when it does not say. */
export const DEFAULT_PURPOSE: (typeof purposeNames)[number] = 'commercial-service'

/** ISO 3166-1 alpha-2 in alphabetical order: bit i of a jurisdictions mask. New codes are appended, so that bits keep their meaning. */
export const jurisdictionCodes = (
  'AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF ' +
  'CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH ' +
  'GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW ' +
  'KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG ' +
  'NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN ' +
  'SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ' +
  'ZA ZM ZW'
).split(' ')

export const ANYWHERE = (1n << 256n) - 1n
/** The caller does not say where: then only data that is allowed anywhere may be used. */
export const JURISDICTION_UNSTATED = 255

export const withdrawalPolicies = ['stop', 'sunset', 'keep-trained'] as const
export type WithdrawalPolicy = (typeof withdrawalPolicies)[number]

export const termsFlags = { personal: 1, derivatives: 2, attribution: 4 } as const

/** As in IDatasetRegistry.Terms; times in seconds of chain time. */
export interface Terms {
  validFrom: number
  validUntil: number
  purposes: number
  prohibitions: number
  flags: number
  noticeSeconds: number
  royaltyPpm: number
  withdrawal: WithdrawalPolicy
  sunsetSeconds: number
  retrainSeconds: number
  floorPrice: bigint
  jurisdictions: bigint
}

const termsTuple =
  'tuple(uint40 validFrom,uint40 validUntil,uint32 purposes,uint32 prohibitions,uint32 flags,uint32 noticeSeconds,uint32 royaltyPpm,uint8 withdrawal,uint32 sunsetSeconds,uint32 retrainSeconds,uint128 floorPrice,uint256 jurisdictions)'

/** The struct as the contract takes it. */
export function termsArgument(terms: Terms): Record<string, unknown> {
  return { ...terms, withdrawal: withdrawalPolicies.indexOf(terms.withdrawal) }
}

/** keccak256(abi.encode(terms)): the id under which DatasetRegistry stores them. */
export function termsHashOf(terms: Terms): string {
  return keccak256(AbiCoder.defaultAbiCoder().encode([termsTuple], [termsArgument(terms)]))
}

export function datasetIdOf(owner: string, commitment: string, salt: string): string {
  return keccak256(AbiCoder.defaultAbiCoder().encode(['address', 'bytes32', 'bytes32'], [owner, commitment, salt]))
}

/** Salted, so that a guess at the manifest can't be confirmed from the chain. */
export function commitmentOf(manifestDigest: string, salt: string): string {
  return keccak256(AbiCoder.defaultAbiCoder().encode(['bytes32', 'bytes32'], [salt, manifestDigest]))
}

/** An unknown purpose is an error, never ignored. */
export function purposeIndex(name: string, names: readonly string[] = purposeNames): number {
  const index = names.indexOf(name)
  if (index < 0) throw new GranaryError('purpose.unknown', `There is no purpose "${name}".`, { purposes: names })
  return index
}

export function purposesMask(names: readonly string[]): number {
  return names.reduce((mask, name) => (mask | (1 << purposeIndex(name))) >>> 0, 0)
}

export function purposesOfMask(mask: number, names: readonly string[] = purposeNames): string[] {
  return names.filter((_, index) => (mask & (1 << index)) !== 0)
}

export function jurisdictionIndex(code: string | undefined): number {
  if (code === undefined) return JURISDICTION_UNSTATED
  const index = jurisdictionCodes.indexOf(code)
  if (index < 0)
    throw new GranaryError('request.malformed', `"${code}" is no ISO 3166-1 alpha-2 country code.`, { jurisdiction: code })
  return index
}

export function jurisdictionsMask(codes: readonly string[] | 'anywhere'): bigint {
  if (codes === 'anywhere') return ANYWHERE
  return codes.reduce((mask, code) => mask | (1n << BigInt(jurisdictionIndex(code))), 0n)
}

/** IModelRegistry.Reason, in order. */
export const servableReasons = [
  'servable',
  'unknown-model',
  'purpose-not-granted',
  'jurisdiction-not-granted',
  'not-yet-valid',
  'consent-ended',
  'suspended',
] as const
export type ServableReason = (typeof servableReasons)[number]

export const explanations: Record<ServableReason, string> = {
  servable: 'Everyone whose data the model builds on permits this.',
  'unknown-model': 'The model is not registered on this chain.',
  'purpose-not-granted': 'A dataset that the model builds on does not permit this purpose.',
  'jurisdiction-not-granted': 'A dataset that the model builds on does not permit use in this place.',
  'not-yet-valid': "A dataset's terms are not valid yet.",
  'consent-ended': 'A contributor withdrew consent, or it has expired, for a dataset that the model builds on.',
  suspended: 'Governance has suspended the model for safety.',
}

/**
 * A gateway or worker serves only while the last new head was seen within max(2 s, 1.5 block times), by its own monotonic
 * clock: on an older one a withdrawal may already have happened.
 */
export function isHeadFresh({ seenMs, nowMs, blockMs }: { seenMs: number; nowMs: number; blockMs: number }): boolean {
  return nowMs - seenMs <= Math.max(2000, 1.5 * blockMs)
}
