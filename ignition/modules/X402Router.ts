import { buildModule } from '@nomicfoundation/ignition-core'

/** The x402 rail of one collector; the cooperative's own contracts need none. */
export default buildModule('X402Router', (m) => ({
  router: m.contract('X402Router', [m.getParameter('escrow'), m.getParameter('collector'), m.getParameter('key')]),
}))
