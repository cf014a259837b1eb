// GET /v1/models and /health: what the server has, and whether it is ready.

import type { Service } from "../service.ts";
import type { Call, Route } from "./_call.ts";
import type { Schema } from "./_fields.ts";
import { assertModel } from "./_request.ts";

const MODEL: Schema = {
  type: "object",
  properties: {
    id: { type: "string" },
    object: { type: "string", const: "model" },
    created: { type: "integer" },
    owned_by: { type: "string" },
    languages: { type: "array", items: { type: "string" }, description: "Beside them, auto." },
    takes_instructions: { type: "boolean" },
    clones: { type: "boolean", description: "Whether it takes voices from recordings." },
  },
  required: ["id", "object", "created", "owned_by", "languages", "takes_instructions", "clones"],
};

const HEALTH: Schema = {
  type: "object",
  properties: {
    status: { type: "string", enum: ["ready", "opening", "ending"] },
    sounding: { type: "integer", description: "Speeches that sound." },
    waiting: { type: "integer", description: "Speeches that wait for their first sound." },
  },
  required: ["status", "sounding", "waiting"],
};

/** Nothing tells when a model was made: 0. */
function model({ engine }: Service): object {
  const { name, prompt } = engine.manifest;
  return {
    ...{ id: name, object: "model", created: 0, owned_by: "local" },
    languages: Object.keys(prompt.languages),
    takes_instructions: prompt.takesInstruct,
    clones: prompt.modelType === "base",
  };
}

export const MODEL_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/v1/models",
    summary: "The model that is served",
    answers: {
      200: {
        description: "A list of one.",
        content: {
          "application/json": {
            type: "object",
            properties: { object: { type: "string", const: "list" }, data: { type: "array", items: MODEL } },
            required: ["object", "data"],
          },
        },
      },
    },
    errors: [503],
    run: ({ service }) => Response.json({ object: "list", data: [model(service)] }),
  },
  {
    method: "GET",
    path: "/v1/models/{id}",
    summary: "The model of a name",
    answers: { 200: { description: "The model.", content: { "application/json": MODEL } } },
    errors: [404, 503],
    run({ id, service }) {
      assertModel(service.engine.manifest, id);
      return Response.json(model(service));
    },
  },
  {
    method: "GET",
    path: "/health",
    isOpen: true,
    summary: "Whether the server can speak now",
    answers: {
      200: { description: "It can.", content: { "application/json": HEALTH } },
      503: { description: "It opens the model, or ends.", content: { "application/json": HEALTH } },
    },
    errors: [],
    run: health,
  },
];

function health({ service }: Call): Response {
  const { load, state } = service;
  return Response.json({ status: state, ...load }, { status: state === "ready" ? 200 : 503 });
}
