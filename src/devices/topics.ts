/**
 * MQTT topics: templates such as `cameras/cam-1/frame/{epoch}/{frame}` that are a filter and name the parts it leaves open,
 * and a trie that finds the filters matching a topic. Pure. Used by the MQTT driver and the embedded broker.
 */
import { AppError } from '../base/errors.ts'

export interface TopicTemplate {
  /** The subscription: named parts become `+`. */
  readonly filter: string
  /** The named parts of a topic that matched, as text. */
  meta(topic: string): Record<string, string>
}

/** @param own values for names that are the device's own, e.g. `{device}` and `{namespace}` in a model's topics */
export function topicTemplate(template: string, own: Readonly<Record<string, string>> = {}): TopicTemplate {
  const names: [number, string][] = []
  const parts = template.split('/').map((part, i) => {
    const name = /^\{(\w+)\}$/.exec(part)?.[1]
    if (name === undefined || own[name] !== undefined) return part.replace(/\{(\w+)\}/g, (whole, n: string) => own[n] ?? whole)
    names.push([i, name])
    return '+'
  })
  const filter = parts.join('/')
  const wrong = parts.findIndex((p, i) => (p.includes('#') && (p !== '#' || i < parts.length - 1)) || (p.includes('+') && p !== '+') || /[{}\0]/.test(p))
  if (filter === '' || wrong >= 0) throw new AppError('invalid', `topic "${template}": part "${parts[wrong] ?? ''}" is not one a broker takes, use names, {name}, + or a last #`)
  return {
    filter,
    meta(topic) {
      const at = topic.split('/')
      return Object.fromEntries(names.map(([i, name]) => [name, at[i] ?? '']))
    },
  }
}

interface TrieNode<T> {
  readonly children: Map<string, TrieNode<T>>
  readonly values: Set<T>
}

/** Filters to values. Adding the same filter again adds another value. */
export class TopicTrie<T> {
  readonly #root: TrieNode<T> = { children: new Map(), values: new Set() }

  /** Returns how to remove it. */
  add(filter: string, value: T): () => void {
    const parts = filter.split('/')
    const path = [this.#root]
    for (const part of parts) {
      const at = path.at(-1) as TrieNode<T>
      let next = at.children.get(part)
      if (!next) at.children.set(part, (next = { children: new Map(), values: new Set() }))
      path.push(next)
    }
    path.at(-1)?.values.add(value)
    return () => {
      path.at(-1)?.values.delete(value)
      for (let i = parts.length; i > 0; i--) {
        const node = path[i] as TrieNode<T>
        if (node.values.size > 0 || node.children.size > 0) break
        path[i - 1]?.children.delete(parts[i - 1] as string)
      }
    }
  }

  /** Values whose filter matches. A filter that starts with a wildcard does not match topics that start with `$`. */
  match(topic: string): T[] {
    const parts = topic.split('/')
    const found: T[] = []
    const walk = (node: TrieNode<T>, i: number): void => {
      const open = i > 0 || !topic.startsWith('$')
      const rest = open ? node.children.get('#') : undefined
      if (rest) found.push(...rest.values)
      if (i === parts.length) return void found.push(...node.values)
      const exact = node.children.get(parts[i] as string)
      if (exact) walk(exact, i + 1)
      const any = open ? node.children.get('+') : undefined
      if (any) walk(any, i + 1)
    }
    walk(this.#root, 0)
    return found
  }
}
