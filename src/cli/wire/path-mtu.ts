/**
 * Lines on which large packets vanish without a word (a tunnel on the way with its ICMP filtered, as in many mobile networks)
 * hold up every large answer for ever, while small ones pass. The kernel can find the size that passes; by default it does
 * not try.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { logger } from '../../base/log.ts'

const SETTING = '/proc/sys/net/ipv4/tcp_mtu_probing'

/** Lets the kernel probe for it once a connection stalls (1), in this network namespace; a value that somebody set stays. Never throws. */
export async function probePathMtu(file = SETTING): Promise<void> {
  try {
    if ((await readFile(file, 'utf8')).trim() === '0') await writeFile(file, '1')
  } catch (error) {
    // Without the right to it all works as before, on lines that tell.
    logger('cli').debug('net.ipv4.tcp_mtu_probing stays as it is', { error })
  }
}
