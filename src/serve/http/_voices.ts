// /v1/audio/voices: the voices of the model, and new ones from recordings.

import { TtsError } from "../../errors.ts";
import { LIMITS } from "../../limits.ts";
import { nearest } from "../../nearest.ts";
import { cloneVoice, takingVoice } from "../cloning.ts";
import type { Service } from "../service.ts";
import { type ServedVoice, VOICE_NAME } from "../voices.ts";
import { mediaType, readBody } from "./_body.ts";
import type { Call, Route } from "./_call.ts";
import { ApiError, invalid } from "./_errors.ts";
import { fieldsOf, type ObjectSchema, type Schema } from "./_fields.ts";

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

const TAKEN: Schema = {
  ...VOICE,
  properties: { ...VOICE.properties, warning: { type: "string" } },
};

interface UploadFields {
  name: string;
  text?: string;
  ref_text?: string;
  replace?: "true" | "false";
  type?: "audio_sample";
  consent?: string;
}

const WORDS =
  "All the words of the recording, and no others. Without them the voice is a speaker vector alone.";
const FILE: Schema = {
  type: "string",
  contentMediaType: "application/octet-stream",
  description: "The recording: wav, flac, mp3 or ogg; 3 to 30 seconds of one clear voice.",
};

/** The field of the recording has either of two names. */
const FILE_NAMES = ["audio_sample", "file"] as const;
const FIELDS: Readonly<Record<keyof UploadFields, Schema>> = {
  name: {
    type: "string",
    pattern: VOICE_NAME.source,
    description: "up to 64 small letters, digits, - and _",
  },
  text: { type: "string", maxLength: LIMITS.referenceChars, description: WORDS },
  ref_text: { type: "string", maxLength: LIMITS.referenceChars, description: "Another name of text." },
  replace: {
    type: "string",
    enum: ["true", "false"],
    default: "false",
    description: "Whether a voice of this name may be there.",
  },
  type: { type: "string", enum: ["audio_sample"], default: "audio_sample" },
  consent: { type: "string", description: "Not looked at. Take only voices that you may use." },
};
const UPLOAD: ObjectSchema = {
  type: "object",
  properties: {
    ...FIELDS,
    audio_sample: FILE,
    file: { ...FILE, description: "Another name of audio_sample." },
  },
  required: ["name"],
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
    method: "POST",
    path: "/v1/audio/voices",
    summary: "Take a voice from a recording, with a Base model",
    body: { "multipart/form-data": UPLOAD },
    answers: {
      201: {
        description: "The voice; `warning` tells what may be wrong with it.",
        content: { "application/json": TAKEN },
      },
    },
    errors: [408, 409, 413, 415, 503],
    run: (call) => takingVoice(call.service, () => add(call)),
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

async function add(call: Call): Promise<Response> {
  const { request, service } = call;
  const form = await readForm(call);
  const [fileName, file] = fileIn(form);
  const texts = [...form].filter(([, value]) => typeof value === "string");
  const { name, ...fields } = fieldsOf<UploadFields>(Object.fromEntries(texts), {
    ...UPLOAD,
    properties: FIELDS,
  });
  const replace = fields.replace === "true";
  if (!replace && service.voices.folder.has(name))
    throw new ApiError(409, "voice_exists", `there is a voice ${name} already; set replace to true`, {
      param: "name",
    });
  const text = fields.text ?? fields.ref_text ?? "";
  const bytes = new Uint8Array(await file.arrayBuffer());
  const upload = { name, text, replace, file: { bytes, name: shownName(file.name) } };
  const warning = await cloneVoice(service, upload, request.signal).catch((error) => {
    throw error instanceof TtsError && isAboutFile(error)
      ? invalid(fileName, error.message, error.hint)
      : error;
  });
  const voice = { ...asVoice(named(service, name)), ...(warning === null ? {} : { warning }) };
  call.closesIdle(true);
  return Response.json(voice, { status: 201 });
}

const isAboutFile = ({ code }: TtsError) => code === "INPUT_UNREADABLE" || code === "REFERENCE_UNUSABLE";

type Form = Awaited<ReturnType<Response["formData"]>>;

/** @throws ApiError 400, 408, 413, 415 */
async function readForm({ limits, request }: Call): Promise<Form> {
  const type = mediaType(request);
  if (type !== "multipart/form-data")
    throw new ApiError(
      415,
      "unsupported_media_type",
      `the body is ${type || "of no type"}; send multipart/form-data`,
    );
  const body = await readBody(request, limits.uploadBytes, limits.uploadMs, limits.droppedBytes);
  const headers = { "content-type": request.headers.get("content-type")! };
  try {
    return await new Response(body, { headers }).formData();
  } catch {
    throw new ApiError(400, "invalid_form", "the body is no multipart/form-data");
  }
}

function fileIn(form: Form): [field: string, file: File] {
  for (const field of FILE_NAMES) {
    const value = form.get(field);
    if (value instanceof File) return [field, value];
  }
  throw invalid("audio_sample", "the recording is missing", "send it as a file, in the field audio_sample");
}

/** What a client calls a file, without its folders, as one short word. */
const shownName = (name: string) =>
  name
    .replace(/^.*[/\\]/s, "")
    .replace(/[^\w.-]+/g, "_")
    .slice(-64) || "recording";
