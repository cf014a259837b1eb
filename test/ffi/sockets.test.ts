// Where a socket listens that somebody else opened, as the system says it.

import { expect, test } from "bun:test";
import { createServer, type ListenOptions } from "node:net";
import { join } from "node:path";
import { addressOfSocket } from "../../ffi/libc.ts";
import { scratchFolder } from "../_support.ts";

test.each<[ListenOptions, string]>([
  [{ host: "127.0.0.1", port: 0 }, "127.0.0.1"],
  [{ host: "0.0.0.0", port: 0 }, "0.0.0.0"],
  [{ host: "::1", port: 0 }, "::1"],
  [{ host: "::", port: 0 }, "::"],
])("%j", async (place, host) => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(place, resolve));
  const { _handle } = server as unknown as { _handle: { fd: number } };
  expect(addressOfSocket(_handle.fd)).toEqual({ host, port: (server.address() as { port: number }).port });
  server.close();
});

test("a Unix socket has a path; a file is no socket", async () => {
  const path = join(scratchFolder(), "a.sock");
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const { _handle } = server as unknown as { _handle: { fd: number } };
  expect(addressOfSocket(_handle.fd)).toEqual({ path });
  server.close();
  expect(addressOfSocket(0x7fff)).toBeNull();
});
