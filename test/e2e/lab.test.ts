import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { Lab } from '../kit/lab.ts'

test('hosts of the lab dial out through NAT, nothing dials in, and a cut line carries nothing', { skip: process.getuid?.() !== 0 && 'needs root' }, async () => {
  await using lab = await Lab.create({ name: 'lt', block: 249, hosts: ['a', 'b'] })
  const listen = `require('net').createServer(s=>{s.end(s.remoteAddress);console.log('x')}).listen(7000,()=>console.log('up'))`
  const server = lab.spawn(lab.server, process.execPath, ['-e', listen], { stdio: ['ignore', 'pipe', 'inherit'] })
  const inside = lab.spawn(lab.host('a'), process.execPath, ['-e', listen], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    await Promise.all([once(server.stdout!, 'data'), once(inside.stdout!, 'data')])
    const dial = (host: string, to: string): Promise<string> =>
      lab.exec(lab.host(host), process.execPath, ['-e', `const s=require('net').connect(7000,'${to}');s.setTimeout(1200,()=>{console.log('timeout');process.exit()});s.on('error',e=>console.log(e.code));s.on('data',d=>console.log(String(d)))`])
    assert.equal((await dial('a', lab.server.address)).trim().replace('::ffff:', ''), '10.249.0.1', 'seen with the address of the NAT')
    assert.equal((await dial('server', lab.host('a').address)).trim(), 'timeout')
    assert.equal((await dial('b', lab.host('a').address)).trim(), 'timeout')
    assert.ok((await lab.bytes('a')).sent > 0)
    await lab.cut('a')
    assert.equal((await dial('a', lab.server.address)).trim(), 'timeout')
    assert.notEqual((await dial('b', lab.server.address)).trim(), 'timeout')
    await lab.mend('a')
    assert.notEqual((await dial('a', lab.server.address)).trim(), 'timeout')
  } finally {
    server.kill('SIGKILL')
    inside.kill('SIGKILL')
  }
})
