import type { GatewayFacts } from '../../../services/sdk/context.ts'
import type { Stage } from '../../support/cooperative.ts'
import { DOLLAR, openPurse, type Purse } from './purse.ts'
import { openWire } from './wire.ts'

/** A cooperative with one customer, whose money every group of tests looks after. */
export interface Scene {
  stage: Stage
  facts: GatewayFacts
  send: Send
  purse: Purse
  /** Of the customer: buys anything. */
  apiKey: string
}

type Send = ReturnType<typeof openWire>

/** `patient` for tests in which the chain is meant to keep up: a machine that is too busy for it is not what they test. */
export async function setScene(stage: Stage, { patient = false } = {}): Promise<Scene> {
  const purse = await openPurse(stage.world, 20n * DOLLAR)
  const wire = openWire(stage.gatewayUrl)
  const send = patient ? whenFresh(wire) : wire
  const { apiKey } = await purse.person.granary.account.createApiKey({ cap: 10n * DOLLAR, lifeSeconds: 3600, label: 'edges' })
  const scene = { stage, facts: purse.person.granary.context.facts, send, purse, apiKey }
  await untilAccepted(scene, apiKey)
  return scene
}

/** A grant counts once the gateway has seen its block: the key buys one inference. */
export async function untilAccepted({ send }: Pick<Scene, 'send'>, apiKey: string, body: unknown = spam('hello')): Promise<void> {
  for (let attempt = 0; attempt < 60; attempt++) {
    const reply = await send({ body, headers: bearer(apiKey) })
    if (reply.status === 200) return
    if (reply.json.code !== 'credential.ended' && reply.json.code !== 'account.unknown') throw new Error(reply.bytes.toString())
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
  throw new Error('The API key was not accepted within 15 s.')
}

/** Sends again what is refused only because no block came lately. */
function whenFresh(send: Send): Send {
  return async (sent) => {
    let reply = await send(sent)
    for (let repeats = 0; reply.json.code === 'consent.stale' && repeats < 5; repeats++) reply = await send(sent)
    return reply
  }
}

export function bearer(apiKey: string): Record<string, string> {
  return { authorization: `Bearer ${apiKey}` }
}

export const SPAM_PRICE = 400n

export function spam(text: string | string[]) {
  return { model: 'spam-classifier', inputs: { text } }
}
