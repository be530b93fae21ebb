/** Static Linux executables of a few instructions, so that pods and the node check need no binary from anywhere. */

const BASE = 0x400000
const HEADERS = 64 + 56
const MACHINES: Readonly<Record<string, number>> = { x64: 62, arm64: 183 }

/**
 * One segment, entered at its first byte; readable and executable.
 * @param arch in the words of Node's `process.arch`
 * @throws RangeError for an architecture without code
 */
export function tinyElf(arch: string, code: { readonly x64: Buffer; readonly arm64: Buffer }): Buffer {
  const text = arch === 'x64' || arch === 'arm64' ? code[arch] : undefined
  const machine = MACHINES[arch]
  if (!text || machine === undefined) throw new RangeError(`make an executable: architecture "${arch}" is not one of ${Object.keys(MACHINES).join(', ')}`)
  const total = HEADERS + text.length
  const elf = Buffer.alloc(HEADERS)
  elf.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]) // 64-bit, little endian
  elf.writeUInt16LE(2, 16) // ET_EXEC
  elf.writeUInt16LE(machine, 18)
  elf.writeUInt32LE(1, 20)
  elf.writeBigUInt64LE(BigInt(BASE + HEADERS), 24) // entry
  elf.writeBigUInt64LE(64n, 32) // program headers follow at once
  elf.writeUInt16LE(64, 52)
  elf.writeUInt16LE(56, 54)
  elf.writeUInt16LE(1, 56)
  elf.writeUInt32LE(1, 64) // PT_LOAD
  elf.writeUInt32LE(5, 68) // read, execute
  elf.writeBigUInt64LE(BigInt(BASE), 80)
  elf.writeBigUInt64LE(BigInt(BASE), 88)
  elf.writeBigUInt64LE(BigInt(total), 96)
  elf.writeBigUInt64LE(BigInt(total), 104)
  elf.writeBigUInt64LE(0x10000n, 112) // alignment that 4, 16 and 64 KiB pages accept
  return Buffer.concat([elf, text])
}

/** Fixed-width instructions, little endian. */
export function words(instructions: readonly number[]): Buffer {
  const out = Buffer.alloc(instructions.length * 4)
  instructions.forEach((word, i) => out.writeUInt32LE(word, i * 4))
  return out
}
