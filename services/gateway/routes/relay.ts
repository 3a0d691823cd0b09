import type { Wallet } from 'ethers'
import type { FastifyInstance } from 'fastify'
import { AdmissionBody, parseBody, RelayBody } from '../../core/api.ts'
import { GranaryError } from '../../core/errors.ts'
import { typedData, type Verifier } from '../../core/messages.ts'
import type { Relay } from '../relay.ts'

/** Acts by signature, and on development chains the registrar that admits whoever three members vouch for. */
export function relayRoutes(
  app: FastifyInstance,
  options: { relay: Relay; registrar: Wallet | null; membership: Verifier },
): void {
  const { relay, registrar, membership } = options

  app.post('/v1/relay', async (request) => {
    const outcome = await relay.submit(parseBody(RelayBody, request.body))
    return { transaction: outcome.hash, block: outcome.block, gasUsed: outcome.gasUsed.toString(), events: outcome.events }
  })

  app.post('/v1/admissions', async (request) => {
    if (!registrar) throw new GranaryError('route.unknown', 'No registrar works at this gateway.')
    const value = parseBody(AdmissionBody, request.body)
    const { domain, types } = typedData('Membership', 'Admission', membership, value)
    return { registrar: registrar.address.toLowerCase(), signature: await registrar.signTypedData(domain, types, value) }
  })
}
