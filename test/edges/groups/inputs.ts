import { beforeAll, describe, it } from 'vitest'
import { expectUntouched, type Money } from '../support/purse.ts'
import { bearer, type Scene } from '../support/scene.ts'
import { expectProblem } from '../support/wire.ts'

const text = (fields: object) => ({ name: 'text', datatype: 'BYTES', shape: [1], data: ['hi'], ...fields })
const audio = (fields: object) => ({ name: 'audio', datatype: 'FP32', shape: [4], data: [0, 0.5, -0.5, 1], ...fields })
const image = (fields: object) => ({ name: 'image', datatype: 'UINT8', shape: [1, 1, 3], data: [1, 2, 3], ...fields })

/** A PNG that claims 50,000 × 50,000 pixels. */
const PNG_BOMB = Buffer.from(`89504e470d0a1a0a0000000d49484452${'0000c350'.repeat(2)}0802000000`, 'hex').toString('base64')

function wavAt(rate: number): string {
  const header = Buffer.alloc(46)
  header.write('RIFF', 0, 'latin1')
  header.write('WAVEfmt ', 8, 'latin1')
  header.writeUInt32LE(16, 16)
  header.writeUInt16LE(1, 20)
  header.writeUInt16LE(1, 22)
  header.writeUInt32LE(rate, 24)
  header.writeUInt16LE(16, 34)
  header.write('data', 36, 'latin1')
  header.writeUInt32LE(2, 40)
  return header.toString('base64')
}

/** By model: what does not fit its inputs. */
const misfits: Record<string, Record<string, unknown>> = {
  'spam-classifier': {
    'another number of dimensions': [text({ shape: [1, 1] })],
    'more values than the shape has': [text({ data: ['hi', 'ho'] })],
    'fewer values than the shape has': [text({ shape: [2] })],
    'no texts at all': [text({ shape: [0], data: [] })],
    'no texts at all in the short form': { text: [] },
    'another datatype': [text({ datatype: 'INT32', data: [1] })],
    'numbers for texts': [text({ data: [1] })],
    'a number for a text in the short form': { text: 5 },
    'a picture for a text': { text: { png: 'iVBORw0KGgo=' } },
    'a missing input': {},
    'an input that the model does not have': [text({}), text({ name: 'more' })],
    'an unknown input in the short form': { text: 'hi', more: 'ho' },
    'an input of an inherited name': { constructor: 'hi' },
    'the same input twice': [text({}), text({})],
    'a huge shape with little data': [text({ shape: [2 ** 40] })],
    'a shape whose product is beyond numbers': [text({ shape: [2 ** 53 - 1, 2 ** 53 - 1, 2 ** 53 - 1] })],
  },
  'silero-vad': {
    'the text NaN': [audio({ data: [0, 'NaN', 0, 0] })],
    'the text Infinity': { audio: ['Infinity'] },
    'a number too large for a float': [audio({ data: [0, 1e300, 0, 0] })],
    'truth values for numbers': { audio: [true, false] },
    'a huge shape with little data': [audio({ shape: [16_777_217] })],
    'no base64': { audio: { wav: '§§§' } },
    'bytes that are no WAV': { audio: { wav: Buffer.from('hello').toString('base64') } },
    'a WAV of another sample rate': { audio: { wav: wavAt(44_100) } },
  },
  'pp-ocrv4-rec': {
    'a value beyond a byte': [image({ data: [1, 2, 256] })],
    'a fraction for a byte': [image({ data: [1, 2, 0.5] })],
    'four colours': [image({ shape: [1, 1, 4], data: [1, 2, 3, 4] })],
    'a picture of no height': [image({ shape: [0, 1, 3], data: [] })],
    'a list for a picture': { image: [1, 2, 3] },
    'bytes that are no PNG': { image: { png: Buffer.from('hello').toString('base64') } },
    'a PNG that would unfold into gigabytes': { image: { png: PNG_BOMB } },
  },
}

/** Not even tensors: refused before the model is looked at. */
const malformed: Record<string, unknown> = {
  'a negative size': [text({ shape: [-1] })],
  'a fraction of a size': [text({ shape: [1.5] })],
  'nine dimensions': [text({ shape: [1, 1, 1, 1, 1, 1, 1, 1, 1] })],
  'an unknown datatype': [text({ datatype: 'FP8' })],
  'a null among the values': [text({ data: [null] })],
  'a list among the values': [text({ data: [['hi']] })],
  'no data': [{ name: 'text', datatype: 'BYTES', shape: [1] }],
  'seventeen inputs': Array.from({ length: 17 }, () => text({})),
}

/** Inputs that do not fit the model, with a good API key. */
export function inputs(scene: () => Scene): void {
  describe('inputs that do not fit', () => {
    let before: Money
    beforeAll(async () => {
      before = await scene().purse.money()
    })

    for (const [model, cases] of Object.entries(misfits)) {
      for (const [what, wrong] of Object.entries(cases)) {
        it(`${model} refuses ${what} as input.invalid`, async () => {
          const { send, apiKey } = scene()
          const reply = await send({ body: { model, inputs: wrong }, headers: bearer(apiKey) })
          expectProblem(reply, 400, 'input.invalid')
        })
      }
    }

    for (const [what, wrong] of Object.entries(malformed)) {
      it(`refuses ${what} as request.malformed`, async () => {
        const { send, apiKey } = scene()
        const reply = await send({ body: { model: 'spam-classifier', inputs: wrong }, headers: bearer(apiKey) })
        expectProblem(reply, 400, 'request.malformed')
      })
    }

    for (const literal of ['NaN', 'Infinity', '1e999', '-1e999', '0x10', '01']) {
      it(`refuses the number ${literal}`, async () => {
        const { send, apiKey } = scene()
        const body = `{"model":"silero-vad","inputs":{"audio":[0,${literal}]}}`
        expectProblem(await send({ body, headers: bearer(apiKey) }), 400, 'request.malformed')
      })
    }

    it('has charged nothing and left nothing reserved', async () => {
      await expectUntouched(scene().purse, before)
    })
  })
}
