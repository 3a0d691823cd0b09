import { APPLICATION_SECONDS, type Application, type Vouch } from '../core/membership.ts'
import { type Context, DEADLINE_SECONDS, type Relayed } from './context.ts'

/** Chapter 1: membership. Nobody needs gas: everything is signed here and relayed. */
export class Contribute {
  readonly #context: Context

  constructor(context: Context) {
    this.#context = context
  }

  /** What the applicant, the registrar and three members sign. */
  async application(nullifier: string): Promise<Application> {
    return { account: await this.#context.address(), nullifier, deadline: (await this.#context.now()) + APPLICATION_SECONDS }
  }

  /** As a member: puts one's own standing behind the applicant. */
  async vouch(application: Application): Promise<Vouch> {
    return {
      voucher: await this.#context.address(),
      signature: await this.#context.sign('Membership', 'Vouch', { ...application }),
    }
  }

  /** As the applicant: joins with the registrar's admission and the vouches; returns the member id. */
  async join(
    application: Application,
    { admission, vouches }: { admission: string; vouches: Vouch[] },
  ): Promise<{ memberId: string; relayed: Relayed }> {
    const signature = await this.#context.sign('Membership', 'Application', { ...application })
    const relayed = await this.#context.relay('Membership', 'join', [application, signature, admission, vouches])
    const joined = relayed.events.find(({ name }) => name === 'Joined')
    return { memberId: String(joined?.args.memberId), relayed }
  }

  /** Asks the registrar that works at this gateway, if one does. */
  async requestAdmission(application: Application): Promise<string> {
    const { signature } = await this.#context.http.json<{ signature: string }>({
      method: 'POST',
      path: '/v1/admissions',
      body: application,
    })
    return signature
  }

  /** After probation the vote counts; anyone may say so. */
  async activate(memberId: string): Promise<Relayed> {
    return this.#context.relay('Membership', 'activate', [memberId])
  }

  /** Moves the member's vote to `newKey` after the cooperative's delay; until then the present key may cancel. */
  async startRotation(memberId: string, newKey: string): Promise<{ rotatesAt: number; relayed: Relayed }> {
    const { address, contracts, now, relay, sign } = this.#context
    const nonce = await contracts().read<bigint>('Membership', 'nonces', [await address()])
    const deadline = (await now()) + DEADLINE_SECONDS
    const signature = await sign('Membership', 'StartRotation', { memberId, newKey, nonce, deadline })
    const relayed = await relay('Membership', 'startRotationBySig', [memberId, newKey, deadline, signature])
    const started = relayed.events.find(({ name }) => name === 'RotationStarted')
    return { rotatesAt: Number(started?.args.rotatesAt), relayed }
  }

  /** Cancels the rotation that is under way, and no other one. */
  async cancelRotation(memberId: string): Promise<Relayed> {
    const { contracts, relay, sign } = this.#context
    const { pendingKey, rotatesAt } = await contracts().read<{ pendingKey: string; rotatesAt: bigint }>('Membership', 'member', [
      memberId,
    ])
    const signature = await sign('Membership', 'CancelRotation', { memberId, newKey: pendingKey, rotatesAt })
    return relay('Membership', 'cancelRotationBySig', [memberId, pendingKey, rotatesAt, signature])
  }

  /** As the new key, once the delay is over. */
  async acceptRotation(memberId: string): Promise<Relayed> {
    const newKey = await this.#context.address()
    const signature = await this.#context.sign('Membership', 'AcceptRotation', { memberId, newKey })
    return this.#context.relay('Membership', 'finishRotation', [memberId, signature])
  }

  async leave(memberId: string): Promise<Relayed> {
    const signature = await this.#context.sign('Membership', 'Leave', { memberId })
    return this.#context.relay('Membership', 'leaveBySig', [await this.#context.address(), signature])
  }
}
