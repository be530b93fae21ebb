/** Finds keys that stand twice in one JSON object, which `JSON.parse` hides. Used for `fieldValidation`. */

const [QUOTE, BACKSLASH, COMMA, OPEN, CLOSE, OPEN_LIST, CLOSE_LIST] = [0x22, 0x5c, 0x2c, 0x7b, 0x7d, 0x5b, 0x5d]

/** Paths of duplicate fields, at most 100. The text must be valid JSON. One pass, no copy of the values. */
export function duplicateFields(text: string): string[] {
  const found: string[] = []
  /** One entry per open bracket: keys seen for an object, the next index for an array. */
  const stack: { keys: Set<string> | undefined; index: number; path: string }[] = []
  let key = ''
  let expectKey = false
  for (let i = 0; i < text.length; i++) {
    const top = stack.at(-1)
    switch (text.charCodeAt(i)) {
      case OPEN:
      case OPEN_LIST: {
        const path = top === undefined ? '' : top.keys ? join(top.path, key) : `${top.path}[${top.index}]`
        stack.push({ keys: text.charCodeAt(i) === OPEN ? new Set() : undefined, index: 0, path })
        expectKey = text.charCodeAt(i) === OPEN
        break
      }
      case CLOSE:
      case CLOSE_LIST:
        stack.pop()
        expectKey = false
        break
      case COMMA:
        if (top?.keys) expectKey = true
        else if (top) top.index++
        break
      case QUOTE: {
        const start = i++
        let escaped = false
        for (let c = text.charCodeAt(i); i < text.length && c !== QUOTE; c = text.charCodeAt(i)) {
          if (c === BACKSLASH) escaped = true
          i += c === BACKSLASH ? 2 : 1
        }
        if (expectKey && top?.keys) {
          key = escaped ? (JSON.parse(text.slice(start, i + 1)) as string) : text.slice(start + 1, i)
          if (top.keys.has(key) && found.length < 100) found.push(join(top.path, key))
          top.keys.add(key)
          expectKey = false
        }
        break
      }
    }
  }
  return [...new Set(found)]
}

function join(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`
}
