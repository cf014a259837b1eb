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
  },
  required: ["id", "object", "created", "owned_by"],
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

/** @property created nothing tells when a model was made: 0 */
const model = ({ engine }: Service) => ({
  id: engine.manifest.name,
  object: "model",
  created: 0,
  owned_by: "local",
});

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
