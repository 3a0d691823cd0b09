import { type Application, GranaryError, type Vouch } from '../sdk/index.ts'
import { argument, type Command, flag, open, readJson, writeJson } from './invocation.ts'

/** What goes from hand to hand until somebody can join: the application and who has vouched for it so far. */
interface ApplicationFile {
  application: Application
  vouches: Vouch[]
}

/** Chapter 1: joining, rotating the key, leaving. */
export const membershipCommands: Record<string, Command> = {
  'contribute apply': {
    usage: 'contribute apply FILE --nullifier 0x… --key-file F',
    says: 'writes an application, which three members vouch for within an hour; the nullifier is the registrar’s',
    async run(invocation) {
      const path = argument(invocation, 0, 'FILE')
      const application = await (await open(invocation)).contribute.application(flag(invocation, 'nullifier'))
      writeJson(path, { application, vouches: [] })
      return { lines: [`${path} waits for three members: granary contribute vouch ${path}`], value: application }
    },
  },
  'contribute vouch': {
    usage: 'contribute vouch FILE --key-file F',
    says: 'as a member: puts your own standing behind the applicant',
    async run(invocation) {
      const path = argument(invocation, 0, 'FILE')
      const { application, vouches } = readApplication(path)
      const vouch = await (await open(invocation)).contribute.vouch(application)
      const all = [...vouches.filter(({ voucher }) => voucher !== vouch.voucher), vouch]
      writeJson(path, { application, vouches: all })
      return { lines: [`${all.length} vouch for ${application.account}`], value: vouch }
    },
  },
  'contribute join': {
    usage: 'contribute join FILE --key-file F',
    says: 'as the applicant: joins with the registrar of this gateway and the vouches in the file',
    async run(invocation) {
      const { application, vouches } = readApplication(argument(invocation, 0, 'FILE'))
      const { contribute } = await open(invocation)
      const admission = await contribute.requestAdmission(application)
      const { memberId, relayed } = await contribute.join(application, { admission, vouches })
      return { lines: [`joined as member ${memberId}; the vote counts after probation`], value: { memberId, relayed } }
    },
  },
  'contribute activate': {
    usage: 'contribute activate MEMBER',
    says: 'gives a member the vote once probation is over; anyone may',
    async run(invocation) {
      const relayed = await (await open(invocation)).contribute.activate(argument(invocation, 0, 'MEMBER'))
      return { lines: [`votes from block ${relayed.block} on`], value: relayed }
    },
  },
  'contribute rotate': {
    usage: 'contribute rotate MEMBER NEW-KEY --key-file F',
    says: 'moves the vote to a new address after a delay; until then: contribute cancel-rotation MEMBER',
    async run(invocation) {
      const [member, newKey] = [argument(invocation, 0, 'MEMBER'), argument(invocation, 1, 'NEW-KEY')]
      const { rotatesAt, relayed } = await (await open(invocation)).contribute.startRotation(member, newKey)
      return { lines: [`rotates at ${rotatesAt}, chain time`], value: { rotatesAt, relayed } }
    },
  },
  'contribute cancel-rotation': {
    usage: 'contribute cancel-rotation MEMBER --key-file F',
    says: 'stops the rotation that is under way',
    async run(invocation) {
      const relayed = await (await open(invocation)).contribute.cancelRotation(argument(invocation, 0, 'MEMBER'))
      return { lines: [`cancelled in block ${relayed.block}`], value: relayed }
    },
  },
  'contribute accept-rotation': {
    usage: 'contribute accept-rotation MEMBER --key-file F',
    says: 'as the new key: takes the vote over once the delay is past',
    async run(invocation) {
      const relayed = await (await open(invocation)).contribute.acceptRotation(argument(invocation, 0, 'MEMBER'))
      return { lines: [`rotated in block ${relayed.block}`], value: relayed }
    },
  },
  'contribute leave': {
    usage: 'contribute leave MEMBER --key-file F',
    says: 'leaves the cooperative by signature',
    async run(invocation) {
      const relayed = await (await open(invocation)).contribute.leave(argument(invocation, 0, 'MEMBER'))
      return { lines: [`left in block ${relayed.block}`], value: relayed }
    },
  },
}

function readApplication(path: string): ApplicationFile {
  const { application, vouches } = readJson(path)
  if (typeof application !== 'object' || application === null || !Array.isArray(vouches))
    throw new GranaryError('request.malformed', `${path} is no application: make one with granary contribute apply.`)
  return { application: application as Application, vouches: vouches as Vouch[] }
}
