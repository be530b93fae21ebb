/** Container runtimes: the port, containerd behind it, and the fake that tests use. */
export * from './runtime.ts'
export { containerdRuntime, type ContainerdOptions, type ContainerdRuntime } from './containerd.ts'
export { FakeRuntime, type FakeBehaviour, type FakeImage } from './fake.ts'
