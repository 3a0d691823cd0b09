const RATE = 16_000
const HEADER_BYTES = 44

/** A request for voice activity in so many seconds of faint noise: about 20 ms of work for each, so long ones are in flight. */
export function voiceRequest(seconds: number) {
  const samples = seconds * RATE
  const wav = Buffer.alloc(HEADER_BYTES + 2 * samples)
  wav.write('RIFF', 0, 'latin1')
  wav.writeUInt32LE(wav.length - 8, 4)
  wav.write('WAVEfmt ', 8, 'latin1')
  wav.writeUInt32LE(16, 16)
  wav.writeUInt16LE(1, 20)
  wav.writeUInt16LE(1, 22)
  wav.writeUInt32LE(RATE, 24)
  wav.writeUInt32LE(2 * RATE, 28)
  wav.writeUInt16LE(2, 32)
  wav.writeUInt16LE(16, 34)
  wav.write('data', 36, 'latin1')
  wav.writeUInt32LE(2 * samples, 40)
  for (let at = 0; at < samples; at++) wav.writeInt16LE(((at * 7919) % 2000) - 1000, HEADER_BYTES + 2 * at)
  return { model: 'silero-vad', inputs: { audio: { wav: wav.toString('base64') } } }
}

export const VOICE_PRICE = 200n
