/**
 * The least that a fan-out can cost here: an https server of Node's that judges and keeps nothing. `GET` stays open; each `POST` is
 * answered and its body framed once and written to all that are open. A process of its own, as the API server is; sends its port to its parent.
 */
import type { ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { createCa } from '../../src/base/pki.ts'

const { keyPem, certPem } = await createCa({ cn: 'bare', years: 1 })
const open = new Set<ServerResponse>()
const server = createServer({ key: keyPem, cert: certPem }, (req, res) => {
  if (req.method === 'GET') {
    res.writeHead(200).flushHeaders()
    open.add(res)
    return
  }
  const chunks: Buffer[] = []
  req.on('data', (chunk: Buffer) => chunks.push(chunk)).on('end', () => {
    const text = Buffer.concat(chunks)
    const frame = Buffer.concat([Buffer.from(`${text.length.toString(16)}\r\n`), text, Buffer.from('\r\n')])
    for (const one of open) one.socket?.write(frame)
    res.end('done')
  })
})
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port))
