import { PNG } from 'pngjs'
import type { Tensor } from '../../services/core/tensors.ts'

/** A PNG as the pixels that the text recogniser takes: UINT8 [height, width, 3], RGB; transparency lies on white. */
export function decodePng(bytes: Uint8Array, name = 'image'): Tensor {
  const { width, height, data } = PNG.sync.read(Buffer.from(bytes))
  const pixels = new Uint8Array(width * height * 3)
  for (let pixel = 0; pixel < width * height; pixel += 1) {
    const opacity = (data[pixel * 4 + 3] ?? 255) / 255
    for (let channel = 0; channel < 3; channel += 1) {
      pixels[pixel * 3 + channel] = Math.round((data[pixel * 4 + channel] ?? 0) * opacity + 255 * (1 - opacity))
    }
  }
  return { name, datatype: 'UINT8', shape: [height, width, 3], data: pixels }
}
