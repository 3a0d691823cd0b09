/** A text array as PostgreSQL reads it. Most of ours are ids and hex, which need no quotes: the driver would look at each letter. */
export function arrayOf(values: readonly (string | null)[]): string {
  let text = '{'
  for (const [index, value] of values.entries()) {
    if (index > 0) text += ','
    if (value === null) text += 'NULL'
    else if (PLAIN.test(value) && !RESERVED.test(value)) text += value
    else text += `"${value.replace(/["\\]/g, '\\$&')}"`
  }
  return `${text}}`
}

const PLAIN = /^[0-9A-Za-z_:.-]+$/
const RESERVED = /^null$/i
