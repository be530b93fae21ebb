/**
 * The pause image: the process that holds a pod's namespaces open. Made here, so that no registry is ever needed for it.
 * The program is a static ELF of under 250 bytes: ignore SIGCHLD (the kernel then reaps orphans of a shared PID
 * namespace), wait forever. As PID 1 it is deaf to every signal but SIGKILL, which is how a sandbox is stopped.
 */
import { ociArchive } from './oci-archive.ts'

/** The reference under which containerd knows it; in its config as `sandbox_image`. */
export const PAUSE_IMAGE = 'skerry.io/pause:1'

const BASE = 0x400000
const HEADERS = 64 + 56

/** The whole executable for an architecture, in the words of Node's `process.arch`. @throws RangeError for others */
export function pauseProgram(arch: string): Buffer {
  const code = CODE[arch]
  if (!code) throw new RangeError(`make the pause image: architecture "${arch}" is not one of ${Object.keys(CODE).join(', ')}`)
  // struct sigaction: handler SIG_IGN (1), no flags, no restorer, empty mask.
  const action = Buffer.alloc(32)
  action[0] = 1
  const text = Buffer.concat([code.text, action])
  const total = HEADERS + text.length
  const elf = Buffer.alloc(HEADERS)
  elf.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]) // 64-bit, little endian
  elf.writeUInt16LE(2, 16) // ET_EXEC
  elf.writeUInt16LE(code.machine, 18)
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

/** The OCI archive of the pause image for an architecture. */
export function pauseArchive(arch: string): Buffer {
  return ociArchive({
    name: PAUSE_IMAGE,
    architecture: arch === 'arm64' ? 'arm64' : 'amd64',
    files: [{ path: 'pause', mode: 0o755, data: pauseProgram(arch) }],
    config: { Entrypoint: ['/pause'], User: '65535:65535' },
  })
}

const CODE: Readonly<Record<string, { machine: number; text: Buffer }>> = {
  x64: {
    machine: 62,
    text: Buffer.from([
      0xb8, 13, 0, 0, 0, //             mov eax, 13 (rt_sigaction)
      0xbf, 17, 0, 0, 0, //             mov edi, 17 (SIGCHLD)
      0x48, 0x8d, 0x35, 19, 0, 0, 0, // lea rsi, [rip + 19] (action)
      0x31, 0xd2, //                    xor edx, edx
      0x41, 0xba, 8, 0, 0, 0, //        mov r10d, 8
      0x0f, 0x05, //                    syscall
      0xb8, 34, 0, 0, 0, //             loop: mov eax, 34 (pause)
      0x0f, 0x05, //                    syscall
      0xeb, 0xf7, //                    jmp loop
    ]),
  },
  arm64: {
    machine: 183,
    text: words([
      0xd28010c8, // mov x8, #134 (rt_sigaction)
      0xd2800220, // mov x0, #17 (SIGCHLD)
      0x10000161, // adr x1, action (11 instructions on)
      0xd2800002, // mov x2, #0
      0xd2800103, // mov x3, #8
      0xd4000001, // svc #0
      0xd2800928, // loop: mov x8, #73 (ppoll, no descriptors, no timeout)
      0xd2800000, // mov x0, #0
      0xd2800001, // mov x1, #0
      0xd2800002, // mov x2, #0
      0xd2800003, // mov x3, #0
      0xd4000001, // svc #0
      0x17fffffa, // b loop
    ]),
  },
}

function words(instructions: readonly number[]): Buffer {
  const out = Buffer.alloc(instructions.length * 4)
  instructions.forEach((word, i) => out.writeUInt32LE(word, i * 4))
  return out
}
