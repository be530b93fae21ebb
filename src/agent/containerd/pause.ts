/**
 * The pause image: the process that holds a pod's namespaces open. Made here, so that no registry is ever needed for it.
 * The program is a static ELF of under 250 bytes: ignore SIGCHLD (the kernel then reaps orphans of a shared PID
 * namespace), wait forever. As PID 1 it is deaf to every signal but SIGKILL, which is how a sandbox is stopped.
 */
import type { ImageSpec } from '../../images/mod.ts'
import { tinyElf, words } from './tiny-elf.ts'

/** The reference under which containerd knows it; in its config as `sandbox_image`. */
export const PAUSE_IMAGE = 'skerry.io/pause:1'

/** The whole executable for an architecture, in the words of Node's `process.arch`. @throws RangeError for others */
export function pauseProgram(arch: string): Buffer {
  // struct sigaction: handler SIG_IGN (1), no flags, no restorer, empty mask.
  const action = Buffer.alloc(32)
  action[0] = 1
  return tinyElf(arch, { x64: Buffer.concat([X64, action]), arm64: Buffer.concat([ARM64, action]) })
}

/** The image for an architecture, in the words of Node's `process.arch`; for `buildImage`. */
export function pauseImage(arch: string): ImageSpec {
  return {
    name: PAUSE_IMAGE,
    architecture: arch === 'arm64' ? 'arm64' : 'amd64',
    layers: [[{ path: 'pause', from: { bytes: pauseProgram(arch) }, mode: 0o755 }]],
    entrypoint: ['/pause'],
    user: '65535:65535',
  }
}

const X64 = Buffer.from([
  0xb8, 13, 0, 0, 0, //             mov eax, 13 (rt_sigaction)
  0xbf, 17, 0, 0, 0, //             mov edi, 17 (SIGCHLD)
  0x48, 0x8d, 0x35, 19, 0, 0, 0, // lea rsi, [rip + 19] (action)
  0x31, 0xd2, //                    xor edx, edx
  0x41, 0xba, 8, 0, 0, 0, //        mov r10d, 8
  0x0f, 0x05, //                    syscall
  0xb8, 34, 0, 0, 0, //             loop: mov eax, 34 (pause)
  0x0f, 0x05, //                    syscall
  0xeb, 0xf7, //                    jmp loop
])

const ARM64 = words([
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
])
