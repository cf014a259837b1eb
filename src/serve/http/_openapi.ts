// The description of the server, made from its routes and from the schemas that check requests.

import type { AnswerDoc, Route } from "./_call.ts";
import type { Schema } from "./_fields.ts";

const ERROR: Schema = {
  type: "object",
  properties: {
    error: {
      type: "object",
      properties: {
        message: { type: "string" },
        type: { type: "string", enum: ["invalid_request_error", "rate_limit_error", "server_error"] },
        param: {
          anyOf: [{ type: "string" }, { type: "null" }],
          description: "The field that is wrong.",
        },
        code: { type: "string" },
      },
      required: ["message", "type", "param", "code"],
    },
  },
  required: ["error"],
};

const MEANING: Readonly<Record<number, string>> = {
  400: "The request cannot be used.",
  401: "A token is needed, or it is wrong.",
  403: "The name of the host or the origin of the page is refused.",
  404: "There is nothing of that name.",
  405: "The path has no such method; Allow tells those it has.",
  408: "The body did not come in time.",
  409: "There is a voice of that name.",
  413: "The body is too large.",
  415: "The body is of another type.",
  426: "The path speaks WebSocket only.",
  429: "This client has too much under way; Retry-After tells when to come again.",
  500: "The server failed.",
  503: "No place, or no model yet; Retry-After tells when to come again.",
};

/** What any route may answer. */
const GENERAL = [400, 401, 403, 500];

export function openApi(routes: readonly Route[], version: string): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const route of routes) {
    paths[route.path] ??= {};
    paths[route.path][route.method.toLowerCase()] = operation(route);
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Qwen3-TTS",
      version,
      description: "Speech as OpenAI's API has it, and voices, figures and a WebSocket for text in pieces.",
    },
    paths,
    components: {
      schemas: { Error: ERROR, ...Object.assign({}, ...routes.map((route) => route.schemas)) },
      securitySchemes: { token: { type: "http", scheme: "bearer" } },
    },
    security: [{ token: [] }, {}],
  };
}

function operation({ answers, body, description, errors, isOpen, method, path, summary }: Route): object {
  const failures = [...new Set([...GENERAL, ...errors])]
    .filter((status) => answers[status] === undefined && !(isOpen === true && status === 401))
    .map((status): [number, AnswerDoc] => [
      status,
      {
        description: MEANING[status],
        content: { "application/json": { $ref: "#/components/schemas/Error" } },
      },
    ]);
  const all = [...Object.entries(answers), ...failures];
  return {
    summary,
    ...(description === undefined ? {} : { description }),
    operationId: `${method.toLowerCase()}${path.replace(/[^a-z]+(.)?/gi, (_, next = "") => next.toUpperCase())}`,
    ...(isOpen === true ? { security: [] } : {}),
    ...(path.includes("{id}")
      ? { parameters: [{ name: "id", in: "path", required: true, schema: { type: "string" } }] }
      : {}),
    ...(body === undefined ? {} : { requestBody: { required: true, content: schemas(body) } }),
    responses: Object.fromEntries(
      all.map(([status, { content, description }]) => [
        status,
        { description, ...(content === undefined ? {} : { content: schemas(content) }) },
      ]),
    ),
  };
}

const schemas = (content: Readonly<Record<string, Schema>>) =>
  Object.fromEntries(Object.entries(content).map(([type, schema]) => [type, { schema }]));
