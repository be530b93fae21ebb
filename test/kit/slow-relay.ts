/**
 * A slow line as a process of its own: takes TCP connections and passes every byte on after a delay, both ways. Loss of
 * packets is not its business: firewall rules drop them. Usage: slow-relay.ts LISTEN_PORT TO_ADDRESS TO_PORT DELAY_MS FIRST_LOCAL_PORT
 *
 * It dials from local ports of a range of its own, so that a rule that sends others through it lets its own connections pass.
 */
import { connect, createServer, type Socket } from 'node:net'

const [listenPort, address, port, delayMs, firstLocal] = process.argv.slice(2).map((a, i) => (i === 1 ? a : Number(a))) as [number, string, number, number, number]
/** Bytes on their way in one direction before the sender has to wait. */
const WINDOW = 1 << 20
let local = 0

createServer({ allowHalfOpen: true }, (near) => {
  const far = connect({ host: address, port, localPort: firstLocal + (local++ % 1000), allowHalfOpen: true })
  pass(near, far)
  pass(far, near)
}).listen(listenPort, () => console.log('slow line is up'))

function pass(from: Socket, to: Socket): void {
  let waiting = 0
  from.on('data', (chunk: Buffer) => {
    waiting += chunk.length
    if (waiting > WINDOW) from.pause()
    setTimeout(() => {
      waiting -= chunk.length
      if (!to.destroyed) to.write(chunk)
      if (waiting <= WINDOW / 2) from.resume()
    }, delayMs)
  })
  from.on('end', () => setTimeout(() => to.end(), delayMs))
  from.on('error', () => to.destroy())
  from.on('close', () => setTimeout(() => to.destroy(), delayMs + 50))
}
