import { x402Client as AxiosClient, wrapAxiosWithPayment } from '@x402/axios'
import { ExactEvmScheme } from '@x402/evm/exact/client'
import { wrapFetchWithPayment, x402Client } from '@x402/fetch'
import axios from 'axios'
import type { Wallet } from 'ethers'
import { privateKeyToAccount } from 'viem/accounts'
import { describe, expect, it } from 'vitest'
import { echo, hireCheaper, PRICE, type X402Market } from '../support/x402-market.ts'
import { decoded, offered, payWith, signPayment } from '../support/x402-payments.ts'

/** Clients that nobody here wrote, as their makers ship them. */
export function fetchAs(payer: Wallet): typeof fetch {
  const client = new x402Client().register('eip155:31337', schemeOf(payer))
  client.setSpendControls(false)
  return wrapFetchWithPayment(fetch, client)
}

function schemeOf({ privateKey }: Wallet): ExactEvmScheme {
  return new ExactEvmScheme(privateKeyToAccount(privateKey as `0x${string}`))
}

const post = (body: unknown) => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
})

export function clients(market: () => X402Market): void {
  describe('clients that nobody here wrote', () => {
    it('@x402/fetch pays and gets the answer, and the provider, the author and the contributors get the money', async () => {
      const { payer, balanceOf, gatewayUrl, house, untilSettled, workshop } = market()
      const wallet = await payer(100n)
      const [jobs, before] = [workshop.jobs, await house()]
      const response = await fetchAs(wallet)(`${gatewayUrl}/v1/infer`, post(echo('hi')))
      expect(response.status).toBe(200)
      expect(await response.json()).toMatchObject({ outputs: [{ data: ['echo'] }], charged: PRICE.toString() })
      const paid = decoded(response.headers.get('payment-response'))
      expect(paid).toEqual({
        success: true,
        transaction: expect.stringMatching(/^0x[0-9a-f]{64}$/),
        network: 'eip155:31337',
        payer: wallet.address.toLowerCase(),
      })
      expect(await balanceOf(wallet.address)).toBe(100n - PRICE)
      expect(workshop.jobs).toBe(jobs + 1)
      await untilSettled()
      expect((await house()).charged).toBe(before.charged + PRICE)
    })

    it('@x402/axios pays and gets the answer', async () => {
      const { payer, balanceOf, gatewayUrl } = market()
      const wallet = await payer(100n)
      const client = new AxiosClient().register('eip155:31337', schemeOf(wallet) as never)
      const api = wrapAxiosWithPayment(axios.create({ baseURL: gatewayUrl }) as never, client)
      const { status, data, headers } = (await api.post('/v1/infer', echo('hi'))) as unknown as {
        status: number
        data: unknown
        headers: Record<string, string>
      }
      expect(status).toBe(200)
      expect(data).toMatchObject({ outputs: [{ data: ['echo'] }] })
      expect(decoded(headers['payment-response'])).toMatchObject({ success: true })
      expect(await balanceOf(wallet.address)).toBe(100n - PRICE)
    })

    it('are told all rails in header and body', async () => {
      const { send, router, token } = market()
      const reply = await send({ body: echo('hi') })
      expect(reply.status).toBe(402)
      const required = decoded(reply.headers['payment-required'])
      expect(required).toEqual(reply.json)
      expect(required).toMatchObject({
        x402Version: 2,
        code: 'payment.required',
        resource: { url: expect.stringMatching(/\/v1\/infer$/) },
      })
      const accepts = required.accepts as { scheme: string }[]
      expect(accepts.map(({ scheme }) => scheme)).toEqual(['exact', 'granary-meter'])
      expect(accepts[0]).toEqual({
        scheme: 'exact',
        network: 'eip155:31337',
        amount: PRICE.toString(),
        asset: token,
        payTo: router,
        maxTimeoutSeconds: 660,
        extra: { name: 'Granary Test Dollar', version: '1' },
      })
    })

    it('get back what a cheaper provider leaves of their payment', async () => {
      const world = market()
      const [dear] = world.workshop.list
      await using _cleanup = { [Symbol.asyncDispose]: async () => void world.workshop.list.splice(1) }
      await hireCheaper(world, 7n)
      // The price names the dearest who is there; who has time gets the job.
      world.workshop.busy = dear?.provider ?? null
      const wallet = await world.payer(100n)
      const { header } = await signPayment(world, { signer: wallet })
      expect((await offered(world)).amount).toBe(PRICE.toString())
      const reply = await payWith(world, header)
      expect(reply.json).toMatchObject({ charged: '7' })
      await expect.poll(() => world.balanceOf(wallet.address), { timeout: 30_000 }).toBe(93n)
      const again = await payWith(world, header)
      expect(again.json).toEqual(reply.json)
    })
  })
}
