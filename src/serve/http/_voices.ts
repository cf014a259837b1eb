// /v1/audio/voices: the voices of the model, and new ones from recordings.

import { nearest } from "../../nearest.ts";
import type { Service } from "../service.ts";
import type { ServedVoice } from "../voices.ts";
import type { Call, Route } from "./_call.ts";
import { ApiError } from "./_errors.ts";
import type { Schema } from "./_fields.ts";

const VOICE: Schema = {
  type: "object",
  properties: {
    id: { type: "string", description: "What speeches call it." },
    name: { type: "string", description: "The same." },
    object: { type: "string", const: "audio.voice" },
    created_at: { type: "integer", description: "Seconds since 1970; 0 for a speaker of the model." },
    type: { type: "string", enum: ["speaker", "audio_sample"] },
  },
  required: ["id", "name", "object", "created_at", "type"],
};

const asVoice = ({ kind, made, name }: ServedVoice) => ({
  id: name,
  name,
  object: "audio.voice",
  created_at: made === "" ? 0 : Math.floor(Date.parse(made) / 1000),
  type: kind === "speaker" ? "speaker" : "audio_sample",
});

export const VOICE_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/v1/audio/voices",
    summary: "The voices that the model speaks with",
    answers: {
      200: {
        description: "Speakers first. `voices` holds the same as `data`: clients look for either.",
        content: {
          "application/json": {
            type: "object",
            properties: {
              object: { type: "string", const: "list" },
              data: { type: "array", items: VOICE },
              voices: { type: "array", items: VOICE },
            },
            required: ["object", "data", "voices"],
          },
        },
      },
    },
    errors: [503],
    run({ service }) {
      const voices = service.voices.list().map(asVoice);
      return Response.json({ object: "list", data: voices, voices });
    },
  },
  {
    method: "GET",
    path: "/v1/audio/voices/{id}",
    summary: "A voice",
    answers: { 200: { description: "The voice.", content: { "application/json": VOICE } } },
    errors: [404, 503],
    run: ({ id, service }) => Response.json(asVoice(named(service, id))),
  },
  {
    method: "DELETE",
    path: "/v1/audio/voices/{id}",
    summary: "Remove a cloned voice for good",
    answers: {
      200: {
        description: "It is gone.",
        content: {
          "application/json": {
            type: "object",
            properties: {
              id: { type: "string" },
              object: { type: "string", const: "audio.voice.deleted" },
              deleted: { type: "boolean" },
            },
            required: ["id", "object", "deleted"],
          },
        },
      },
    },
    errors: [400, 404, 503],
    run: remove,
  },
];

/** @throws ApiError 404 */
function named(service: Service, name: string): ServedVoice {
  const voices = service.voices.list();
  const found = voices.find((voice) => voice.name === name);
  if (found !== undefined) return found;
  const guess = nearest(
    name,
    voices.map((voice) => voice.name),
  );
  const hint = guess === null ? "" : `; did you mean ${guess}?`;
  throw new ApiError(404, "voice_unknown", `there is no voice ${JSON.stringify(name)}${hint}`, {
    param: "id",
  });
}

function remove({ id, service }: Call): Response {
  if (named(service, id).kind === "speaker")
    throw new ApiError(400, "voice_is_speaker", `${id} is a speaker of the model and stays`, { param: "id" });
  service.voices.folder.remove(id);
  return Response.json({ id, object: "audio.voice.deleted", deleted: true });
}
