// Who may ask: tokens, names of the host, and pages of other sites.

import { expect, test } from "bun:test";
import { hostname } from "node:os";
import { engineOf, JSON_TYPE, post, serveEngine, stopAfterAll } from "./_server.ts";

stopAfterAll();
const engine = await engineOf("starter");
const EMPTY = { input: "" };
/** 400: it was let in, and had no text. */
const LET_IN = 400;

test("a token opens all but health and the files of the page", async () => {
  const page = (path: string) => (path === "/" ? new Response("<!doctype html>") : null);
  const { url } = serveEngine(engine, { token: "sécret", page });
  const status = async (path: string, authorization?: string) => {
    const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
    return (await fetch(url + path, { headers })).status;
  };
  expect([await status("/health"), await status("/")]).toEqual([200, 200]);
  for (const path of [
    "/v1/models",
    "/v1/audio/voices",
    "/metrics",
    "/openapi.json",
    "/nothing",
    "/v1/audio/speech/stream",
  ]) {
    expect([path, await status(path)]).toEqual([path, 401]);
    for (const wrong of ["Bearer", "Bearer x", "Basic c2VjcmV0", "Bearer sécre", "Bearer sécrett"])
      expect([path, wrong, await status(path, wrong)]).toEqual([path, wrong, 401]);
  }
  expect((await post(url, EMPTY)).status).toBe(401);
  const refused = await fetch(`${url}/v1/models`);
  expect(refused.headers.get("www-authenticate")).toBe("Bearer");
  expect(await refused.json()).toMatchObject({ error: { code: "invalid_api_key" } });
});

test("the right token lets in", async () => {
  const { url } = serveEngine(engine, { token: "t0ken/+=" });
  const headers = { authorization: "bearer t0ken/+=" };
  expect((await post(url, EMPTY, { headers })).status).toBe(LET_IN);
  expect((await fetch(`${url}/v1/models`, { headers })).status).toBe(200);
});

test("the server goes by its own names alone, so that no name of another site can be made to point to it", async () => {
  const { url } = serveEngine(engine, { hosts: ["Speaker.Example.org:8080"] });
  const status = async (host: string) => (await fetch(`${url}/v1/models`, { headers: { host } })).status;
  const own = hostname();
  for (const host of [
    "localhost",
    "LOCALHOST:80",
    "a.localhost",
    "127.0.0.1:8080",
    "[::1]:8080",
    "192.168.1.7",
    own,
    `${own}.local:8080`,
    "speaker.example.org",
    "speaker.example.org.",
  ])
    expect([host, await status(host)]).toEqual([host, 200]);
  for (const host of [
    "example.org",
    "localhost.example.org",
    "evil.speaker.example.org",
    "127.0.0.1.example.org",
    "1e3.7",
  ])
    expect([host, await status(host)]).toEqual([host, 403]);
  for (const host of ["a b", "localhost:x", "[::1", "a/b"])
    expect([host, await status(host)]).toEqual([host, 400]);
});

test("pages of other sites may not speak", async () => {
  const { url } = serveEngine(engine, { origins: ["https://friend.example"] });
  const status = async (headers: Record<string, string>) => (await post(url, EMPTY, { headers })).status;
  const { host } = new URL(url);
  for (const headers of [
    {},
    { origin: url },
    { origin: `https://${host}` }, // behind a proxy
    { "sec-fetch-site": "same-origin" },
    { "sec-fetch-site": "none" },
    { origin: "https://friend.example", "sec-fetch-site": "cross-site" },
  ] as Record<string, string>[])
    expect([headers, await status(headers)]).toEqual([headers, LET_IN]);
  for (const headers of [
    { origin: "https://evil.example" },
    { origin: "null" },
    { origin: "http://127.0.0.1:1" },
    { "sec-fetch-site": "cross-site" },
    { "sec-fetch-site": "same-site" },
    { origin: "https://friend.example.evil.example" },
  ] as Record<string, string>[])
    expect([headers, await status(headers)]).toEqual([headers, 403]);
  // a WebSocket may be opened by any page: browsers ask no server before
  const socket = await fetch(`${url}/v1/audio/speech/stream`, {
    headers: { origin: "https://evil.example" },
  });
  expect(socket.status).toBe(403);
  const voice = await fetch(`${url}/v1/audio/voices/a`, {
    method: "DELETE",
    headers: { origin: "https://evil.example" },
  });
  expect(voice.status).toBe(403);
});

test("pages of allowed origins may, and others may not even read", async () => {
  const { url } = serveEngine(engine, { origins: ["https://friend.example"], token: "t" });
  const preflight = (origin: string) =>
    fetch(`${url}/v1/audio/speech`, {
      method: "OPTIONS",
      headers: {
        origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type",
      },
    });
  const allowed = await preflight("https://friend.example");
  expect(allowed.status).toBe(204);
  expect(allowed.headers.get("access-control-allow-origin")).toBe("https://friend.example");
  expect(allowed.headers.get("access-control-allow-headers")).toBe("authorization, content-type");
  expect(allowed.headers.get("access-control-allow-credentials")).toBeNull();
  const refused = await preflight("https://evil.example");
  expect([refused.status, refused.headers.get("access-control-allow-origin")]).toEqual([403, null]);
  const read = async (origin: string) => {
    const response = await fetch(`${url}/v1/models`, { headers: { origin, authorization: "Bearer t" } });
    return [response.headers.get("access-control-allow-origin"), response.headers.get("vary")];
  };
  expect(await read("https://friend.example")).toEqual(["https://friend.example", "Origin"]);
  expect(await read("https://evil.example")).toEqual([null, "Origin"]);
});

test("without origins there are no such headers, and a question of a browser is refused", async () => {
  const { url } = serveEngine(engine);
  const headers = { origin: "https://any.example", "access-control-request-method": "POST" };
  const response = await fetch(`${url}/v1/audio/speech`, { method: "OPTIONS", headers });
  expect(response.status).toBe(403);
  const read = await fetch(`${url}/v1/models`, { headers: JSON_TYPE });
  expect([...read.headers.keys()].filter((name) => name.startsWith("access-control"))).toEqual([]);
  expect(read.headers.get("x-content-type-options")).toBe("nosniff");
});
