// The description of the server against the server itself: every path, every field, every status.

import { beforeAll, describe, expect, test } from "bun:test";
import { fits, type Schema } from "../../../src/serve/http/_fields.ts";
import { engineOf, post, type Served, serveEngine, stopAfterAll } from "./_server.ts";

interface Operation {
  operationId: string;
  security?: unknown[];
  parameters?: { name: string; in: string }[];
  requestBody?: { content: Record<string, { schema: Schema }> };
  responses: Record<string, { description: string; content?: Record<string, { schema: Schema }> }>;
}
interface Description {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema> };
}

stopAfterAll();
let served: Served;
let described: Description;
let operations: { method: string; path: string; operation: Operation }[];
beforeAll(async () => {
  served = serveEngine(await engineOf("starter"));
  described = (await (await fetch(`${served.url}/openapi.json`)).json()) as Description;
  operations = Object.entries(described.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
  );
});

/** Checks an answer against what its operation says of its status. */
async function check(operation: Operation, response: Response): Promise<void> {
  const documented = operation.responses[response.status];
  expect([operation.operationId, response.status, documented?.description]).not.toContain(undefined);
  const [type] = (response.headers.get("content-type") ?? "").split(";");
  const content = Object.entries(documented.content ?? {});
  const found = content.find(([name]) => name.split(";")[0] === type);
  expect([response.status, type, found?.[0]]).not.toContain(undefined);
  if (type !== "application/json") return void (await response.arrayBuffer());
  const value = await response.json();
  expect([operation.operationId, value, fits(value, resolved(found![1].schema))]).toEqual([
    operation.operationId,
    value,
    true,
  ]);
}

const resolved = (schema: Schema): Schema =>
  schema.$ref === undefined ? schema : described.components.schemas[schema.$ref.split("/").at(-1)!];

test("it is OpenAPI 3.1, with names of its own for every operation", () => {
  expect(described.openapi).toBe("3.1.0");
  const ids = operations.map(({ operation }) => operation.operationId);
  expect(new Set(ids).size).toBe(ids.length);
  for (const { operation, path } of operations) {
    const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    expect((operation.parameters ?? []).map(({ name }) => name)).toEqual(named);
  }
});

test("every path answers as it is described, and has no other methods", async () => {
  for (const { method, operation, path } of operations) {
    const url = served.url + path.replace("{id}", "starter");
    await check(operation, await fetch(url, { method }));
    await check(operation, await fetch(served.url + path.replace("{id}", "nothing"), { method }));
  }
  for (const path of Object.keys(described.paths)) {
    const methods = Object.keys(described.paths[path]).map((method) => method.toUpperCase());
    for (const method of ["GET", "POST", "PUT", "PATCH", "DELETE"].filter((one) => !methods.includes(one))) {
      const { headers, status } = await fetch(served.url + path.replace("{id}", "x"), { method });
      expect([path, method, status]).toEqual([path, method, 405]);
      expect(
        headers
          .get("allow")!
          .split(", ")
          .filter((one) => one !== "HEAD"),
      ).toEqual(methods);
    }
  }
});

test("with a token, all that need one say so", async () => {
  const { url } = serveEngine(await engineOf("starter"), { token: "t" });
  for (const { method, operation, path } of operations) {
    const { status } = await fetch(url + path.replace("{id}", "starter"), { method });
    expect([path, status === 401]).toEqual([path, operation.security === undefined]);
    expect([path, operation.responses[401] === undefined]).toEqual([path, operation.security !== undefined]);
  }
});

test("while no model is open, what needs one says so", async () => {
  const { url } = serveEngine(null);
  for (const { method, operation, path } of operations.filter(({ method: one }) => one !== "POST"))
    await check(operation, await fetch(url + path.replace("{id}", "starter"), { method }));
});

/** A value of the schema, and one that is none. */
function examples({
  anyOf,
  const: only,
  enum: choices,
  exclusiveMinimum,
  maximum,
  minimum,
  type,
}: Schema): [good: unknown, bad: unknown] {
  if (only !== undefined) return [only, "?"];
  if (choices !== undefined) return [choices[0], "?"];
  if (anyOf !== undefined) return [examples(anyOf[0])[0], 0];
  if (type === "string") return ["", 0];
  if (type === "boolean") return [false, "?"];
  return [maximum ?? 1, (minimum ?? exclusiveMinimum ?? 0) - 1];
}

describe("the fields of a speech", () => {
  test("are taken where they are as described, and refused where not", async () => {
    const { schema } = described.paths["/v1/audio/speech"].post.requestBody!.content["application/json"];
    const operation = described.paths["/v1/audio/speech"].post;
    const fields = Object.entries(schema.properties!).filter(([name]) => name !== "input");
    expect(fields.length).toBeGreaterThan(12);
    for (const [name, field] of fields) {
      const [good, bad] = examples(field);
      expect([name, fits(good, field), fits(bad, field)]).toEqual([name, true, false]);
      const refused = await post(served.url, { input: " ", [name]: bad });
      const { error } = (await refused.clone().json()) as { error: { param: string } };
      expect([refused.status, error.param]).toEqual([400, name]);
      await check(operation, refused);
      // a blank text is refused last
      const taken = await post(served.url, {
        input: " ",
        [name]: ["model", "voice", "language"].includes(name) ? null : good,
      });
      const { error: blank } = (await taken.json()) as { error: { param: string } };
      expect([name, blank.param]).toEqual([name, "input"]);
    }
    const { enum: formats } = schema.properties!.response_format;
    for (const response_format of formats!)
      await check(operation, await post(served.url, { input: "Yes.", response_format }));
    await check(operation, await post(served.url, { input: "Yes.", stream_format: "sse" }));
    for (const required of schema.required!)
      expect((await post(served.url, { [required]: null })).status).toBe(400);
  });
});

test("the messages of the WebSocket are as described", async () => {
  const { Done, Failed, Started, Words } = described.components.schemas;
  const socket = new WebSocket(`${served.url.replace("http", "ws")}/v1/audio/speech/stream`);
  const said: { type: string }[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.onopen = () => {
    for (const message of [
      {},
      { type: "start", words: true },
      { type: "text", text: "Yes, of course." },
      { type: "end" },
    ])
      socket.send(JSON.stringify(message));
  };
  socket.onmessage = ({ data }) => {
    if (typeof data !== "string") return;
    said.push(JSON.parse(data));
    if (said.at(-1)!.type === "done") resolve();
  };
  await promise;
  socket.close();
  const schemas: Record<string, Schema> = { error: Failed, started: Started, words: Words, done: Done };
  expect(new Set(said.map(({ type }) => type))).toEqual(new Set(Object.keys(schemas)));
  for (const message of said) {
    const { properties = {} } = schemas[message.type];
    expect([message, fits(message, schemas[message.type])]).toEqual([message, true]);
    expect(Object.keys(message).filter((name) => !(name in properties))).toEqual([]);
  }
});
