import assert from 'node:assert/strict'
import { test } from 'node:test'
import { proxiedLink, proxiedPage } from './html-links.ts'

const PLACE = { prefix: '/api/v1/namespaces/d/services/s/proxy', server: 's:80', client: 'cluster:6443' }

test('a path of the server goes below the proxy; what is relative, of another host or there already stays', () => {
  for (const [link, proxied] of [
    ['/a/b?x=1#y', `${PLACE.prefix}/a/b?x=1#y`],
    ['/', `${PLACE.prefix}/`],
    ['http://s:80/a/', `${PLACE.prefix}/a/`],
    ['//s:80/a', `${PLACE.prefix}/a`],
    ['https://cluster:6443/a', `https://cluster:6443${PLACE.prefix}/a`],
    ['https://elsewhere/a', 'https://elsewhere/a'],
    ['http://s:80', 'http://s:80'],
    ['a/b', 'a/b'],
    ['?x', '?x'],
    ['#top', '#top'],
    ['mailto:a@b', 'mailto:a@b'],
    [`${PLACE.prefix}/a`, `${PLACE.prefix}/a`],
  ] as const) assert.equal(proxiedLink(link, PLACE), proxied, link)
})

const PAGE = `<!DOCTYPE html><HTML><head><title><a href="/t"></title><link rel=stylesheet href=/s.css><script src='/j.js'>if (a < b) x = '<a href="/no">'</script>
<style>a { b: url(/c) }</style></head><!-- <a href="/comment"> > --><body>1 < 2 & <A class="x > y" HREF="/a?b=1&amp;c=2">ä</A><img alt="a" src = "/i.png" data-src="/kept"/>
<a href="rel">r</a><form action="/f" method=post><a href="http://s:80/own">o</a><p title="/p" href="/not-a-link"></p></form></body></HTML>`
const P = PLACE.prefix
const PROXIED = `<!DOCTYPE html><HTML><head><title><a href="/t"></title><link rel=stylesheet href=${P}/s.css><script src='${P}/j.js'>if (a < b) x = '<a href="/no">'</script>
<style>a { b: url(/c) }</style></head><!-- <a href="/comment"> > --><body>1 < 2 & <A class="x > y" HREF="${P}/a?b=1&amp;c=2">ä</A><img alt="a" src = "${P}/i.png" data-src="/kept"/>
<a href="rel">r</a><form action="${P}/f" method=post><a href="${P}/own">o</a><p title="/p" href="/not-a-link"></p></form></body></HTML>`

async function* pieces(page: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < page.length; at += size) yield page.subarray(at, at + size)
}

async function rewritten(page: string | Buffer, size: number): Promise<Buffer> {
  const out: Uint8Array[] = []
  for await (const chunk of proxiedPage(pieces(Buffer.from(page), size), PLACE)) out.push(chunk)
  return Buffer.concat(out)
}

test('the links of a page are found in tags only, however the page comes in pieces', async () => {
  for (const size of [1, 2, 3, 7, 64, 10_000]) assert.equal((await rewritten(PAGE, size)).toString(), PROXIED, `pieces of ${size}`)
})

test('what is no page passes byte by byte: tags that never end, quotes that never close, bytes of any kind', async () => {
  const any = Buffer.from(Array.from({ length: 1024 }, (_, i) => i % 256))
  assert.deepEqual(await rewritten(any, 100), any)
  for (const text of ['<', '<a', '<a href="/x', '<!--', '<script>', '</', `<a title="${'x'.repeat(100_000)}`, '<'.repeat(5_000), '<a '.repeat(20_000)]) assert.equal((await rewritten(text, 4_096)).toString(), text)
})
