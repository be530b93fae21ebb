/** Finds keys that stand twice in one JSON object, which `JSON.parse` hides. Used for `fieldValidation`. */

const [QUOTE, BACKSLASH, COMMA, OPEN, CLOSE, OPEN_LIST, CLOSE_LIST] = [0x22, 0x5c, 0x2c, 0x7b, 0x7d, 0x5b, 0x5d]

/** Paths of duplicate fields, at most 100. The text must be valid JSON. One pass, no copy of the values. */
export function duplicateFields(text: string): string[] {
  const found: string[] = []
  /** One entry per open bracket: keys seen for an object, the next index for an array. */
  const stack: Level[] = []
  let key = ''
  let expectKey = false
  for (let i = 0; i < text.length; i++) {
    const top = stack.at(-1)
    switch (text.charCodeAt(i)) {
      case OPEN:
      case OPEN_LIST: {
        stack.push({ keys: text.charCodeAt(i) === OPEN ? [] : undefined, index: 0, key: '' })
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
        const start = i
        let escaped = false
        i = text.indexOf('"', i + 1)
        // A quote behind an odd number of backslashes is part of the text.
        while (text.charCodeAt(i - 1) === BACKSLASH && isEscaped(text, i)) {
          escaped = true
          i = text.indexOf('"', i + 1)
        }
        if (i < 0) return [...new Set(found)]
        if (!escaped && expectKey) escaped = text.slice(start, i).includes('\\')
        if (expectKey && top?.keys) {
          key = escaped ? (JSON.parse(text.slice(start, i + 1)) as string) : text.slice(start + 1, i)
          top.key = key
          if (!isNew(top, key) && found.length < 100) found.push(pathOf(stack))
          expectKey = false
        }
        break
      }
    }
  }
  return [...new Set(found)]
}

/** An open bracket: the keys seen and the newest of them for an object, the next index for an array. */
interface Level {
  readonly keys: string[] | undefined
  /** Made when there are many keys. */
  set?: Set<string>
  index: number
  key: string
}

/** Most objects have few keys, which a list finds sooner than a set is made. */
const FEW = 16

function isNew(level: Level, key: string): boolean {
  const { keys = [] } = level
  if (level.set) return level.set.size < level.set.add(key).size
  if (keys.includes(key)) return false
  keys.push(key)
  if (keys.length > FEW) level.set = new Set(keys)
  return true
}

function isEscaped(text: string, at: number): boolean {
  let from = at
  while (text.charCodeAt(from - 1) === BACKSLASH) from--
  return (at - from) % 2 === 1
}

/** Where the walk stands. */
function pathOf(stack: readonly Level[]): string {
  return stack.reduce((path, { keys, key, index }) => (keys === undefined ? `${path}[${index}]` : path === '' ? key : `${path}.${key}`), '')
}
