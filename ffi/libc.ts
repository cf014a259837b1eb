// The C library: environment for native code, locked files, datagrams, read-only file mappings, names and
// cores of threads, one clock for all of them, memory to measure reading with, and two harmless functions
// used as callbacks.

import { type Pointer, ptr, toArrayBuffer } from "bun:ffi";
import { closeSync, fstatSync, openSync } from "node:fs";
import { openSymbols } from "./load/open.ts";

const libc = openSymbols("libc.so.6", {
  setenv: { args: ["cstring", "cstring", "i32"], returns: "i32" }, // name, value, overwrite
  getenv: { args: ["cstring"], returns: "ptr" }, // name
  abs: { args: ["i32"], returns: "i32" },
  strlen: { args: ["ptr"], returns: "u64" },
  memcpy: { args: ["ptr", "ptr", "u64"], returns: "ptr" }, // to, from, bytes
  // address, bytes, protection, flags, file, offset
  mmap: { args: ["ptr", "u64", "i32", "i32", "i32", "i64"], returns: "ptr" },
  madvise: { args: ["ptr", "u64", "i32"], returns: "i32" }, // address, bytes, advice
  munmap: { args: ["ptr", "u64"], returns: "i32" },
  memset: { args: ["ptr", "i32", "u64"], returns: "ptr" }, // to, byte, bytes
  memchr: { args: ["u64", "i32", "u64"], returns: "ptr" }, // from, byte, bytes
  clock_gettime: { args: ["i32", "ptr"], returns: "i32" }, // clock, time
  sched_setaffinity: { args: ["i32", "u64", "ptr"], returns: "i32" }, // thread (0: this one), bytes, mask
  gnu_get_libc_version: { args: [], returns: "cstring" },
  socket: { args: ["i32", "i32", "i32"], returns: "i32" }, // family, type, protocol
  // socket, bytes, count, flags, address, bytes of the address
  sendto: { args: ["i32", "ptr", "u64", "i32", "ptr", "u32"], returns: "i64" },
  getsockname: { args: ["i32", "ptr", "ptr"], returns: "i32" }, // socket, address, its bytes
  flock: { args: ["i32", "i32"], returns: "i32" }, // file, operation
  prctl: { args: ["i32", "ptr", "u64", "u64", "u64"], returns: "i32" }, // option, and what it needs
});

/** The native address of a bound function: C can call it without any JavaScript. */
const addressOf = (fn: unknown) => (fn as { ptr: Pointer }).ptr;

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_PRIVATE = 2;
const MAP_ANONYMOUS = 32;
const MADV_DONTNEED = 4;
const MADV_HUGEPAGE = 14;
const CLOCK_MONOTONIC = 1;
const PR_SET_PDEATHSIG = 1;
const PR_SET_NAME = 15;
const SIGKILL = 9;
const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;
const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 64;
const MSG_NOSIGNAL = 16384;
/** A sockaddr_un: u16 family, and a path of up to this many bytes with its zero. */
const SOCKET_PATH_BYTES = 108;
/** A sockaddr_storage. */
const ADDRESS_BYTES = 128;
const THREAD_NAME_BYTES = 15;
/** A cpu_set_t: 1024 cores. */
const CPU_SET_BYTES = 128;

/** A log callback that does nothing: libc's `abs`. No JavaScript runs, so any thread may call it. */
export const NOOP_CALLBACK = addressOf(libc.symbols.abs);

/**
 * An abort callback over a zeroed byte pair: libc's `strlen` of the flag, 0 until its first byte is set.
 * Any thread may set that byte.
 */
export const FLAG_CALLBACK = addressOf(libc.symbols.strlen);

/** Sets a variable for C, which `process.env` does not reach. Only while no other thread may read one. */
export function setEnvironment(name: string, value: string): void {
  libc.symbols.setenv(Buffer.from(`${name}\0`), Buffer.from(`${value}\0`), 1);
}

/** Whether C has a variable of this name. */
export const environmentHas = (name: string) => libc.symbols.getenv(Buffer.from(`${name}\0`)) !== null;

/** Version of the C library, such as "2.36". */
export const libcVersion = () => String(libc.symbols.gnu_get_libc_version());

/**
 * Locks an open file, unless another thread or process holds it. The lock ends when the file is closed, also
 * by those that inherited it, or when these processes end.
 * @returns whether the file is locked now
 */
export const tryLockFile = (file: number) => libc.symbols.flock(file, LOCK_EX | LOCK_NB) === 0;

/** Unlocks a file, also for processes that inherited it. */
export const unlockFile = (file: number) => void libc.symbols.flock(file, LOCK_UN);

/**
 * Sends one datagram to a Unix socket, without waiting for its reader.
 * @returns whether it was taken; false also where nothing of that name listens
 */
export function sendDatagram(path: string, bytes: Uint8Array): boolean {
  const name = Buffer.from(path);
  if (name.length >= SOCKET_PATH_BYTES) return false;
  const address = Buffer.alloc(2 + SOCKET_PATH_BYTES);
  address.writeUInt16LE(AF_UNIX);
  name.copy(address, 2);
  const socket = libc.symbols.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return false;
  try {
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    return (
      libc.symbols.sendto(socket, bytes, bytes.length, flags, address, address.length) ===
      BigInt(bytes.length)
    );
  } finally {
    closeSync(socket);
  }
}

/** u32 of a timespec: seconds (low, high), nanoseconds (low, high). */
const time = new Uint32Array(new ArrayBuffer(16));
const timeAt = ptr(time);

/**
 * Milliseconds of a clock that all threads and processes share, whereas every worker's `performance.now`
 * begins at 0.
 */
export function monotonicMs(): number {
  libc.symbols.clock_gettime(CLOCK_MONOTONIC, timeAt);
  return (time[0] + 2 ** 32 * time[1]) * 1e3 + time[2] / 1e6;
}

/**
 * Names the calling thread, and the threads that it starts from now on, as the system's tools show them.
 * Longer names are cut off.
 */
export function nameThread(name: string): void {
  libc.symbols.prctl(PR_SET_NAME, Buffer.from(`${name.slice(0, THREAD_NAME_BYTES)}\0`), 0, 0, 0);
}

/** From now on the system kills this process when the thread that started it ends. */
export function endWithParent(): void {
  libc.symbols.prctl(PR_SET_PDEATHSIG, SIGKILL as Pointer, 0, 0, 0);
}

/**
 * Keeps the calling thread, and the threads that it starts from now on, to these cores.
 * @returns false when the system refuses: the cores may have been taken away meanwhile
 */
export function pinThread(cores: readonly number[]): boolean {
  const mask = new Uint8Array(new ArrayBuffer(CPU_SET_BYTES));
  for (const core of cores) mask[core >> 3] |= 1 << (core & 7);
  return libc.symbols.sched_setaffinity(0, mask.length, mask) === 0;
}

/** Copies `count` floats from native memory to target[at ...]. */
export function copyFloats(target: Float32Array, at: number, count: number, source: Pointer): void {
  if (at + count > target.length) throw new RangeError(`${count} floats at ${at} of ${target.length}`);
  libc.symbols.memcpy((ptr(target) + 4 * at) as Pointer, source, 4 * count);
}

export interface MappedFile {
  path: string;
  /**
   * Read-only memory: a write would crash the process. Never post it to another thread: that copies the whole
   * file.
   */
  bytes: Uint8Array<ArrayBuffer>;
  /** Returns the pages read so far to the system; touching them reads them again. */
  release(): void;
  /**
   * Ends the mapping. Every view of `bytes` is empty from then on: nothing can reach memory that is no longer
   * there.
   */
  close(): void;
}

/**
 * Maps a file read-only; pages are read when touched. Errors of `open` are passed on; an empty file maps to
 * no bytes.
 */
export function mapFile(path: string): MappedFile {
  const file = openSync(path, "r");
  try {
    const stat = fstatSync(file);
    if (stat.isDirectory()) throw Object.assign(new Error(`${path} is a folder`), { code: "EISDIR", path });
    const length = stat.size;
    if (length === 0) return { path, bytes: new Uint8Array(0), release: () => {}, close: () => {} };
    const base = libc.symbols.mmap(null, length, PROT_READ, MAP_PRIVATE, file, 0);
    if (base === null || (base as number) === -1 || (base as number) > 2 ** 63)
      throw new Error(`mmap of ${path} failed`);
    const bytes = new Uint8Array(toArrayBuffer(base, 0, length));
    const isOpen = () => bytes.length > 0;
    const release = () => void (isOpen() && libc.symbols.madvise(base, length, MADV_DONTNEED));
    const close = () => {
      if (!isOpen()) return; // a second munmap could end another mapping
      bytes.buffer.transfer(); // detaches all views of the memory
      libc.symbols.munmap(base, length);
    };
    return { path, bytes, release, close };
  } finally {
    closeSync(file);
  }
}

/** Memory that is read only to measure how long reading takes. */
export interface ScanMemory {
  /** Reads `count` bytes from `from` on, in order, as fast as the C library can. */
  scan(from: number, count: number): void;
  close(): void;
}

/**
 * Takes `length` bytes and writes them all: pages that nobody has written share one page of memory. Uses huge
 * pages where the system gives them, so that looking up addresses is not what is measured.
 */
export function takeScanMemory(length: number): ScanMemory {
  const base = libc.symbols.mmap(null, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base === null || (base as number) > 2 ** 63) throw new Error(`mmap of ${length} bytes failed`);
  libc.symbols.madvise(base, length, MADV_HUGEPAGE);
  libc.symbols.memset(base, 1, length);
  const scan = (from: number, count: number) => {
    if (from + count > length) throw new RangeError(`${count} bytes at ${from} of ${length}`);
    libc.symbols.memchr((base as number) + from, 0, count); // no byte is 0: it reads them all
  };
  return { scan, close: () => void libc.symbols.munmap(base, length) };
}

/**
 * Where an open socket listens: an address and a port, or a path on this machine. Null: it is no such socket.
 */
export function addressOfSocket(file: number): { host: string; port: number } | { path: string } | null {
  const address = Buffer.alloc(ADDRESS_BYTES);
  const bytes = Uint32Array.of(ADDRESS_BYTES);
  if (libc.symbols.getsockname(file, address, bytes) !== 0) return null;
  const family = address.readUInt16LE(0);
  if (family === AF_UNIX) return { path: address.toString("utf8", 2, bytes[0]).split("\0", 1)[0] };
  const port = address.readUInt16BE(2);
  if (family === AF_INET) return { host: address.subarray(4, 8).join("."), port };
  if (family !== AF_INET6) return null;
  const groups = Array.from({ length: 8 }, (_, i) => address.readUInt16BE(8 + 2 * i).toString(16));
  return { host: new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1), port };
}
