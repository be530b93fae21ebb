import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { connect, createServer, type TLSSocket } from 'node:tls'
import { AppError } from './errors.ts'
import { caHash, certInfo, checkPeer, createCa, createKey, createKeyAndCsr, issue, keyFits, parseCsr, publicKeyOf, renewAt, type KeyedCert } from './pki.ts'

const DAY = 86_400_000
let ca: KeyedCert
before(async () => {
  ca = await createCa({ cn: 'skerry root', years: 10 })
})

test('a root certifies a key from a request, taking only the key from it', async () => {
  const { keyPem, csrPem } = await createKeyAndCsr({ cn: 'system:node:asked-for', o: ['system:masters'] })
  const asked = await parseCsr(csrPem)
  assert.deepEqual({ cn: asked.cn, o: asked.o, ok: asked.signatureValid }, { cn: 'system:node:asked-for', o: ['system:masters'], ok: true })
  const certPem = await issue({ ca, csrPem, cn: 'system:node:cam-1', o: ['system:nodes'], usage: 'client', days: 30 })
  const info = certInfo(certPem)
  assert.deepEqual({ cn: info.cn, o: info.o, isCa: info.isCa, usages: info.usages }, { cn: 'system:node:cam-1', o: ['system:nodes'], isCa: false, usages: ['client'] })
  assert.equal(info.publicKeyPem, asked.publicKeyPem)
  assert.equal(info.publicKeyPem, publicKeyOf(keyPem))
  assert.ok(keyFits(certPem, keyPem) && !keyFits(certPem, ca.keyPem))
  assert.ok(info.notBefore < Date.now() && info.notAfter > Date.now() + 29 * DAY)
  assert.equal(renewAt(info), info.notAfter - (info.notAfter - info.notBefore) / 3)
})

test('node:tls accepts both certificates in a mutual handshake and reads the names', async () => {
  const key = await createKey()
  const cert = await issue({ ca, publicKeyPem: key.publicKeyPem, cn: 'skerry', sans: { dns: ['localhost', 'a.example'], ip: ['127.0.0.1', '::1'] }, usage: 'server', days: 365 })
  assert.deepEqual(certInfo(cert).sans, { dns: ['localhost', 'a.example'], ip: ['127.0.0.1', '0:0:0:0:0:0:0:1'] })
  const node = await createKeyAndCsr({ cn: 'x' })
  const nodeCert = await issue({ ca, csrPem: node.csrPem, cn: 'system:node:n, O=evil', o: ['system:nodes', 'b'], usage: 'client', days: 1 })
  const seen = Promise.withResolvers<TLSSocket>()
  const server = createServer({ key: key.keyPem, cert, ca: ca.certPem, requestCert: true, rejectUnauthorized: false }, (s) => seen.resolve(s)).listen(0, '127.0.0.1')
  await new Promise((r) => server.once('listening', r))
  const socket = connect({ port: (server.address() as { port: number }).port, host: '127.0.0.1', servername: 'a.example', ca: ca.certPem, key: node.keyPem, cert: nodeCert })
  await new Promise((r, j) => socket.once('secureConnect', r).once('error', j))
  const peer = await seen.promise
  assert.equal(peer.authorized, true)
  assert.equal(peer.getPeerCertificate().subject.CN, 'system:node:n, O=evil')
  socket.destroy()
  peer.destroy()
  server.close()
})

test('checkPeer tolerates dates and nothing else', async () => {
  const key = await createKey()
  const other = await createCa({ cn: 'skerry root', years: 1 })
  const make = async (from: KeyedCert, usage: 'server' | 'client', now: number): Promise<X509Certificate> =>
    new X509Certificate(await issue({ ca: from, publicKeyPem: key.publicKeyPem, cn: 'srv', sans: { dns: ['srv.example'], ip: ['10.0.0.1'] }, usage, days: 30, now }))
  const now = Date.now()
  const good = await make(ca, 'server', now)
  assert.equal(checkPeer(good, ca.certPem, { usage: 'server', host: 'srv.example', now }).dates, 'valid')
  assert.equal(checkPeer(good, other.certPem + ca.certPem, { usage: 'server', host: '10.0.0.1', now: 0 }).dates, 'not-yet-valid')
  assert.equal(checkPeer(good, ca.certPem, { usage: 'server', host: 'srv.example', now: now + 31 * DAY }).dates, 'expired')
  const refused = (cert: X509Certificate, caPem: string, want: { usage: 'server' | 'client'; host?: string }, why: RegExp): void =>
    assert.throws(() => checkPeer(cert, caPem, { ...want, now }), (e) => e instanceof AppError && e.code === 'unauthorized' && why.test(e.message))
  refused(good, other.certPem, { usage: 'server' }, /not the pinned CA/) // same CA name, other key
  refused(good, ca.certPem, { usage: 'client' }, /not made for use as a client/)
  refused(good, ca.certPem, { usage: 'server', host: 'evil.example' }, /not for 'evil.example'/)
  refused(new X509Certificate(ca.certPem), ca.certPem, { usage: 'server' }, /CA certificate/)
  refused(await make(other, 'server', now - 400 * DAY), ca.certPem, { usage: 'server' }, /not the pinned CA/) // expired and foreign
})

test('requests and certificates of openssl are read, broken ones are refused by name', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'pki-'))
  try {
    execFileSync('openssl', ['req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', join(dir, 'k'), '-out', join(dir, 'c'), '-subj', '/O=g1/O=g2/CN=jane', '-addext', 'subjectAltName=DNS:a,IP:1.2.3.4'], { stdio: 'pipe' })
    const csrPem = execFileSync('cat', [join(dir, 'c')], { encoding: 'utf8' })
    const info = await parseCsr(csrPem)
    assert.deepEqual([info.cn, info.o, info.sans, info.signatureValid], ['jane', ['g1', 'g2'], { dns: ['a'], ip: ['1.2.3.4'] }, true])
    writeFileSync(join(dir, 'ca'), ca.certPem)
    writeFileSync(join(dir, 'crt'), await issue({ ca, csrPem, cn: 'jane', usage: 'client', days: 1 }))
    assert.match(execFileSync('openssl', ['verify', '-x509_strict', '-purpose', 'sslclient', '-CAfile', join(dir, 'ca'), join(dir, 'crt')], { encoding: 'utf8' }), /OK/)
    // the last base64 character before padding belongs to the signature
    const lines = csrPem.trim().split('\n')
    const last = lines.length - 2
    lines[last] = (lines[last] as string).replace(/^(.{10})(.)/, (_, a: string, b: string) => a + (b === 'A' ? 'B' : 'A'))
    await assert.rejects(issue({ ca, csrPem: lines.join('\n'), cn: 'x', usage: 'client', days: 1 }), /signature|not a PEM/)
  } finally {
    rmSync(dir, { recursive: true })
  }
  await assert.rejects(parseCsr('hello'), (e) => e instanceof AppError && e.code === 'invalid' && /'hello…'/.test(e.message))
  await assert.rejects(issue({ ca, cn: 'x', usage: 'client', days: 1 }), /either csrPem or publicKeyPem/)
  await assert.rejects(issue({ ca, publicKeyPem: publicKeyOf(ca.keyPem), cn: 'x', sans: { ip: ['1.2.3'] }, usage: 'server', days: 1 }), /'1.2.3' is not an IP/)
  assert.throws(() => certInfo('junk'), /not a PEM certificate/)
  assert.equal(caHash(ca.certPem), certInfo(ca.certPem).sha256)
})
