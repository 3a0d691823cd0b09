import { describe, expect, it } from 'vitest'
import type { ApiKey } from '../../services/core/selling-ledger.ts'
import { openApiKeyBook } from '../../services/gateway/api-key-book.ts'

const MAX_AGE_MS = 1000
const apiKey = (keyId: string, revoked = false) => ({ keyId, revoked }) as ApiKey

function scene({ most = 3 } = {}) {
  const stored = new Map<string, ApiKey>()
  const reads: string[] = []
  let nowMs = 0
  let held: Promise<void> | null = null
  const book = openApiKeyBook({
    ledger: {
      async apiKey(keyId) {
        reads.push(keyId)
        const read = stored.get(keyId) ?? null
        await held
        return read
      },
    },
    maxAgeMs: MAX_AGE_MS,
    most,
    clockMs: () => nowMs,
  })
  return {
    book,
    reads,
    store: (key: ApiKey) => void stored.set(key.keyId, key),
    pass: (ms: number) => {
      nowMs += ms
    },
    hold() {
      const { promise, resolve } = Promise.withResolvers<void>()
      held = promise
      return resolve
    },
  }
}

describe('the book of API keys', () => {
  it('reads a key once, for all that ask within its age, and then anew', async () => {
    const { book, reads, store, pass } = scene()
    store(apiKey('a'))
    expect(await Promise.all([book.find('a'), book.find('a')])).toEqual([apiKey('a'), apiKey('a')])
    pass(MAX_AGE_MS - 1)
    store(apiKey('a', true))
    expect(await book.find('a')).toEqual(apiKey('a'))
    expect(reads).toEqual(['a'])
    pass(1)
    expect(await book.find('a')).toEqual(apiKey('a', true))
    expect(reads).toEqual(['a', 'a'])
  })

  it('knows no more of a key that was forgotten, nor keeps what was being read meanwhile', async () => {
    const { book, store, hold } = scene()
    store(apiKey('a'))
    const release = hold()
    const before = book.find('a')
    store(apiKey('a', true))
    book.forget('a')
    const after = book.find('a')
    release()
    expect(await before).toEqual(apiKey('a'))
    expect(await after).toEqual(apiKey('a', true))
    expect(await book.find('a')).toEqual(apiKey('a', true))
  })

  it('keeps neither ids that are none nor failures', async () => {
    const { book, reads, store } = scene()
    expect(await book.find('a')).toBeNull()
    store(apiKey('a'))
    expect(await book.find('a')).toEqual(apiKey('a'))
    expect(reads).toEqual(['a', 'a'])
    let isDown = true
    const failing = openApiKeyBook({ ledger: { apiKey: async () => (isDown ? Promise.reject(new Error('down')) : apiKey('a')) } })
    await expect(failing.find('a')).rejects.toThrow('down')
    isDown = false
    expect(await failing.find('a')).toEqual(apiKey('a'))
  })

  it('keeps no more than its bound, those read last', async () => {
    const { book, reads, store } = scene({ most: 3 })
    for (const keyId of ['a', 'b', 'c', 'd']) {
      store(apiKey(keyId))
      await book.find(keyId)
    }
    for (const keyId of ['b', 'c', 'd']) await book.find(keyId)
    expect(reads).toEqual(['a', 'b', 'c', 'd'])
    await book.find('a')
    expect(reads).toEqual(['a', 'b', 'c', 'd', 'a'])
  })
})
