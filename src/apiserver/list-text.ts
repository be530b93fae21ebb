/**
 * A list too large to be one text: its parts, made as its reader takes them. Neither the text as a whole nor its bytes are ever
 * held, and others are served in between. Used by `encode.ts`, and by `http.ts`, which may compress it.
 */

/** Characters a part: few enough to stay in the sockets' buffers, enough to make writes rare. */
const PART = 64 << 10

/** The body of such a list: can be read once or more, each time from the start. */
export class ListText implements AsyncIterable<string> {
  readonly #head: string
  readonly #count: number
  readonly #item: (index: number) => string

  /** @param head the text before the first of `count` items; what follows the last is `]}` */
  constructor(head: string, count: number, item: (index: number) => string) {
    this.#head = head
    this.#count = count
    this.#item = item
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, undefined> {
    let part = this.#head
    for (let i = 0; i < this.#count; i++) {
      part += i === 0 ? this.#item(i) : `,${this.#item(i)}`
      if (part.length < PART) continue
      yield part
      part = ''
    }
    yield `${part}]}`
  }
}
