// The line in the system's log, as a listener on a socket of Unix gets it.

import { dlopen, ptr } from "bun:ffi";
import { expect, test } from "bun:test";
import { closeSync, mkdtempSync } from "node:fs";
import { join } from "node:path";
import { tellSyslog } from "../../src/io/syslog.ts";
import { scratchFolder } from "../_support.ts";

const libc = dlopen("libc.so.6", {
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  bind: { args: ["i32", "ptr", "u32"], returns: "i32" },
  recv: { args: ["i32", "ptr", "u64", "i32"], returns: "i64" },
}).symbols;
const [AF_UNIX, SOCK_DGRAM, MSG_DONTWAIT] = [1, 2, 64];
const newSocket = () => join(mkdtempSync(join(scratchFolder(), "log-")), "log");

function listen(path: string): { next(): string; close(): void } {
  const socket = libc.socket(AF_UNIX, SOCK_DGRAM, 0);
  const address = Buffer.alloc(110);
  address.writeUInt16LE(AF_UNIX);
  address.write(path, 2);
  expect(libc.bind(socket, ptr(address), 110)).toBe(0);
  const next = () => {
    const bytes = Buffer.alloc(4_096);
    const count = Number(libc.recv(socket, ptr(bytes), bytes.length, MSG_DONTWAIT));
    return bytes.toString("utf8", 0, Math.max(0, count));
  };
  return { next, close: () => closeSync(socket) };
}

test("a line is one datagram, as logger writes it", () => {
  const path = newSocket();
  const listener = listen(path);
  const when = new Date(2026, 5, 1, 7, 0, 5);
  expect(tellSyslog("info", "said: 1.2 s of sound", when, path)).toBe(true);
  expect(listener.next()).toBe(`<14>Jun  1 07:00:05 tts[${process.pid}]: said: 1.2 s of sound`);
  expect(tellSyslog("error", "two\nlines", new Date(2026, 11, 24, 23, 59, 59), path)).toBe(true);
  expect(listener.next()).toBe(`<11>Dec 24 23:59:59 tts[${process.pid}]: two lines`);
  tellSyslog("info", "x".repeat(10_000), when, path);
  expect(listener.next()).toHaveLength(2_000);
  listener.close();
  expect(tellSyslog("info", "nobody listens any more", when, path)).toBe(false);
});

test("a listener that does not read holds nobody up", () => {
  const path = newSocket();
  const listener = listen(path);
  const taken = Array.from({ length: 2_000 }, () => tellSyslog("info", "line", new Date(), path));
  expect(taken[0]).toBe(true);
  expect(taken.at(-1)).toBe(false);
  listener.close();
});

test("where there is no socket, the line must go elsewhere", () => {
  expect(tellSyslog("info", "line", new Date(), newSocket())).toBe(false);
  expect(tellSyslog("info", "line", new Date(), `/tmp/${"x".repeat(200)}`)).toBe(false);
});
