/** Finds keys that stand twice in one JSON object, which `JSON.parse` hides. Used for `fieldValidation`. */

/** Paths of duplicate fields, at most 100. The text must be valid JSON. One pass, no copy of the values. */
export function duplicateFields(text: string): string[] {
  const found: string[] = []
  /** One entry per open bracket: keys seen for an object, the next index for an array. */
  const stack: { keys: Set<string> | undefined; index: number; path: string }[] = []
  let key = ''
  let expectKey = false
  for (let i = 0; i < text.length; i++) {
    const top = stack.at(-1)
    switch (text[i]) {
      case '{':
      case '[': {
        const path = top === undefined ? '' : top.keys ? join(top.path, key) : `${top.path}[${top.index}]`
        stack.push({ keys: text[i] === '{' ? new Set() : undefined, index: 0, path })
        expectKey = text[i] === '{'
        break
      }
      case '}':
      case ']':
        stack.pop()
        expectKey = false
        break
      case ',':
        if (top?.keys) expectKey = true
        else if (top) top.index++
        break
      case '"': {
        const start = i++
        while (i < text.length && text[i] !== '"') i += text[i] === '\\' ? 2 : 1
        if (expectKey && top?.keys) {
          key = JSON.parse(text.slice(start, i + 1)) as string
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
