import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it } from 'vitest'
import { openJsonRpc } from '../../services/adapters/chain/json-rpc.ts'

type Reply = (response: ServerResponse, id: number, times: number, asked?: unknown) => void

/** A node that answers as told; counts what it is asked. */
async function openNode(reply: Reply) {
  let asked = 0
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part)
    asked += 1
    const question = JSON.parse(Buffer.concat(parts).toString())
    reply(response, question.id, asked, question)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const rpcUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    rpc: openJsonRpc({ rpcUrl, timeoutMs: 2000 }),
    asked: () => asked,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

interface Question {
  id: number
  params: unknown[]
}

const says = (answer: object): Reply => {
  return (response, id) => response.end(JSON.stringify({ jsonrpc: '2.0', id, ...answer }))
}

describe('JSON-RPC', () => {
  it('asks again a node that is asked too often, and no other that refuses', async () => {
    await using busy = await openNode((response, id, times) => {
      if (times === 1) response.writeHead(429).end()
      else says({ result: 'now' })(response, id, times)
    })
    expect(await busy.rpc.send('eth_blockNumber', [])).toBe('now')
    expect(busy.asked()).toBe(2)
    await using broken = await openNode((response) => response.writeHead(500).end('{}'))
    await expect(broken.rpc.send('eth_blockNumber', [])).rejects.toMatchObject({ code: 'chain.unavailable' })
    expect(broken.asked()).toBe(1)
  })

  it('takes no answer to another question, none without a result, and no half one', async () => {
    const wrong: Reply[] = [
      (response, id) => response.end(JSON.stringify({ id: id + 1, result: 'x' })),
      (response, id) => response.end(JSON.stringify({ id })),
      (response) => response.end('[]'),
      (response) => response.end('{"id":'),
      (response, id) => {
        response.writeHead(200, { 'content-length': 100 }).write(JSON.stringify({ id, result: 'x' }))
        setImmediate(() => response.destroy())
      },
    ]
    for (const reply of wrong) {
      await using node = await openNode(reply)
      await expect(node.rpc.ask('eth_chainId', [])).rejects.toMatchObject({ code: 'chain.unavailable' })
    }
  })

  it('finds revert data wherever nodes put it, and tells a revert from a refusal of the node', async () => {
    const errors = [
      { code: 3, message: 'execution reverted', data: '0x1234' },
      { code: -32603, message: 'Error', data: { message: 'VM reverted', data: '0x1234' } },
      { code: -32015, message: '{"error":{"message":"Reverted","data":"0x1234"}}' },
    ]
    for (const error of errors) {
      await using node = await openNode(says({ error }))
      expect(await node.rpc.ask('eth_call', [])).toMatchObject({ ok: false, refusal: { reverted: true, data: '0x1234' } })
    }
    await using node = await openNode(says({ error: { code: -32000, message: 'header not found', data: '0x1234' } }))
    expect(await node.rpc.ask('eth_call', [])).toMatchObject({ ok: false, refusal: { reverted: false, data: null } })
    await expect(node.rpc.send('eth_getLogs', [])).rejects.toMatchObject({
      code: 'chain.unavailable',
      message: 'The chain did not answer eth_getLogs: header not found',
    })
  })

  it('asks many at once and gives each its own answer, whatever their order, and one by one where the node takes no more', async () => {
    const echo = ({ id, params }: Question) => ({
      id,
      ...(params[0] === 2 ? { error: { code: 1, message: 'no' } } : { result: params[0] }),
    })
    const expected = [
      { ok: true, result: 1 },
      { ok: false, refusal: { message: 'no', reverted: false, data: null } },
      { ok: true, result: 3 },
    ]
    await using node = await openNode((response, _id, _times, asked) =>
      response.end(JSON.stringify((asked as Question[]).map(echo).reverse())),
    )
    expect(await node.rpc.askAll('eth_call', [[1], [2], [3]])).toMatchObject(expected)
    expect(node.asked()).toBe(1)
    await using single = await openNode((response, _id, _times, asked) => {
      if (Array.isArray(asked)) response.end(JSON.stringify({ id: null, error: { code: -32600, message: 'one at a time' } }))
      else response.end(JSON.stringify(echo(asked as Question)))
    })
    for (const asked of [4, 7]) {
      expect(await single.rpc.askAll('eth_call', [[1], [2], [3]])).toMatchObject(expected)
      expect(single.asked()).toBe(asked)
    }
  })

  it('asks anew where the node closes the connection that it had left open, and not where it closes a new one', async () => {
    await using node = await openNode((response, id, times) => {
      if (times === 2) response.socket?.resetAndDestroy()
      else says({ result: times })(response, id, times)
    })
    expect(await node.rpc.send('eth_chainId', [])).toBe(1)
    expect(await node.rpc.send('eth_chainId', [])).toBe(3)
    await using closing = await openNode((response) => response.socket?.resetAndDestroy())
    await expect(closing.rpc.send('eth_chainId', [])).rejects.toMatchObject({ code: 'chain.unavailable' })
    expect(closing.asked()).toBe(1)
  })
})
