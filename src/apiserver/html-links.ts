/**
 * Links of what a proxied server answers, made to lead through the proxy again: `Location`, and the attributes of HTML that hold addresses. The rules are
 * those of Kubernetes' proxies: a path of the server's own goes below the proxy's path; what is relative, or another host's, stays. Pure, in one pass over
 * bytes that come in any pieces; bound: a tag longer than {@link MAX_TAG} passes as it is.
 */

/** Attributes that hold addresses, by element. */
const LINKS: Readonly<Record<string, readonly string[]>> = {
  a: ['href'], applet: ['codebase'], area: ['href'], audio: ['src'], base: ['href'], blockquote: ['cite'], body: ['background'], button: ['formaction'], command: ['icon'],
  del: ['cite'], embed: ['src'], form: ['action'], frame: ['longdesc', 'src'], head: ['profile'], html: ['manifest'], iframe: ['longdesc', 'src'],
  img: ['longdesc', 'src', 'usemap'], input: ['src', 'usemap', 'formaction'], ins: ['cite'], link: ['href'], object: ['classid', 'codebase', 'data', 'usemap'], q: ['cite'],
  script: ['src'], source: ['src'], video: ['poster', 'src'],
}
/** Elements whose content is text, whatever it looks like. */
const RAW = new Set(['script', 'style', 'textarea', 'title'])
const MAX_TAG = 16 << 10

/** Where a page was asked for. */
export interface ProxyPlace {
  /** Path of the proxy without a slash at its end. */
  readonly prefix: string
  /** Host that the server was asked as. */
  readonly server: string
  /** Host that the client asked; undefined in process. */
  readonly client: string | undefined
}

/** An address as the client must ask for it. */
export function proxiedLink(link: string, { prefix, server, client }: ProxyPlace): string {
  const [, origin = '', host, path = ''] = /^((?:[a-z][a-z0-9+.-]*:)?\/\/([^/?#]*))?(.*)$/is.exec(link) ?? []
  if (!path.startsWith('/') || (host !== undefined && host !== server && host !== client)) return link
  const kept = host !== undefined && host === client && host !== server ? origin : ''
  return path.startsWith(`${prefix}/`) || path === prefix ? kept + path : kept + prefix + path
}

/** The page with its links rewritten, piece by piece. */
export async function* proxiedPage(page: AsyncIterable<Uint8Array>, place: ProxyPlace): AsyncGenerator<Uint8Array> {
  const rewriter = new Rewriter(place)
  for await (const chunk of page) {
    const out = rewriter.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString('latin1'))
    if (out !== '') yield Buffer.from(out, 'latin1')
  }
  const rest = rewriter.end()
  if (rest !== '') yield Buffer.from(rest, 'latin1')
}

/** Bytes are read as Latin-1, one character each: markup is ASCII in every encoding of pages, and all else passes unseen. */
class Rewriter {
  readonly #place: ProxyPlace
  #held = ''
  /** What ends the part that is passed as it is: `-->`, `</script`. */
  #until: string | undefined

  constructor(place: ProxyPlace) {
    this.#place = place
  }

  push(piece: string): string {
    const text = this.#held + piece
    this.#held = ''
    let out = ''
    let at = 0
    while (at < text.length) {
      if (this.#until !== undefined) {
        const end = indexOfIgnoringCase(text, this.#until, at)
        // The end may be cut in two by the border of pieces.
        if (end < 0) return this.#hold(out, text, at, Math.max(at, text.length - this.#until.length + 1))
        out += text.slice(at, end)
        at = end
        this.#until = undefined
      }
      const open = text.indexOf('<', at)
      if (open < 0) return out + text.slice(at)
      out += text.slice(at, open)
      at = open
      if (text.length - open < 4) return this.#hold(out, text, open, open)
      if (text.startsWith('<!--', open)) {
        out += '<!--'
        at = open + 4
        this.#until = '-->'
        continue
      }
      const close = /[a-z]/i.test(text[open + 1] as string) ? endOfTag(text, open) : open
      if (close < 0) {
        if (text.length - open <= MAX_TAG) return this.#hold(out, text, open, open)
        return out + text.slice(open)
      }
      const tag = text.slice(open, close + 1)
      const name = (/^<([a-z][^\s/>]*)/i.exec(tag)?.[1] ?? '').toLowerCase()
      out += Object.hasOwn(LINKS, name) ? this.#tag(tag, LINKS[name] as readonly string[]) : tag
      at = close + 1
      if (RAW.has(name) && !tag.endsWith('/>')) this.#until = `</${name}`
    }
    return out
  }

  end(): string {
    const rest = this.#held
    this.#held = ''
    return rest
  }

  #hold(out: string, text: string, from: number, to: number): string {
    this.#held = text.slice(to)
    return out + text.slice(from, to)
  }

  #tag(tag: string, attributes: readonly string[]): string {
    return tag.replace(/(\s)([^\s=>"'/]+)(\s*=\s*)("[^"]*"|'[^']*'|[^\s"'>]+)/g, (whole, space: string, name: string, equals: string, value: string) => {
      if (!attributes.includes(name.toLowerCase())) return whole
      const quote = value.startsWith('"') || value.startsWith("'") ? (value[0] as string) : ''
      return `${space}${name}${equals}${quote}${proxiedLink(quote === '' ? value : value.slice(1, -1), this.#place)}${quote}`
    })
  }
}

/** Index of the `>` that ends a tag, past those in quotes; -1 when it is not there yet. */
function endOfTag(text: string, open: number): number {
  let quote = ''
  for (let i = open + 1; i < text.length; i++) {
    const c = text[i] as string
    if (quote !== '') {
      if (c === quote) quote = ''
    } else if (c === '>') return i
    // Quotes count only where a value begins.
    else if ((c === '"' || c === "'") && /=\s*$/.test(text.slice(Math.max(open, i - 16), i))) quote = c
  }
  return -1
}

function indexOfIgnoringCase(text: string, wanted: string, from: number): number {
  if (!/[a-z]/.test(wanted)) return text.indexOf(wanted, from)
  for (let at = text.indexOf('</', from); at >= 0; at = text.indexOf('</', at + 2)) if (text.slice(at, at + wanted.length).toLowerCase() === wanted) return at
  return -1
}
