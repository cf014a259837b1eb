// Which model is meant when none is named: of a voice the one it was taken with, of a recording the only Base model here, of a speaker
// the one that has it.

import { TtsError } from "../errors.ts";
import { type CheckpointAbilities, readAbilities } from "../formats/checkpoint-abilities.ts";
import type { Voice } from "../formats/voice.ts";
import { firstMissing, hubIdOf, KNOWN_MODELS, listPulled, nameOf } from "./catalog.ts";
import { SHIPPED, shippedCheckpoint } from "./resolve.ts";

/** A model on this machine that has a name. */
interface ModelHere extends CheckpointAbilities {
  name: string;
}

/**
 * What a voice speaks with. Another model of its width would do, but not sound the same: only the user may choose it.
 * @throws TtsError MODEL_NOT_HERE
 */
export function modelOfVoice({ name, provenance: { model }, xVector }: Voice, cacheDir: string): string {
  const bases = basesHere(cacheDir);
  const hub = hubIdOf(model);
  if (hub !== null && bases.some((base) => base.name === nameOf(hub))) return model;
  const fitting = bases.filter(({ hidden }) => hidden === xVector.length).map((base) => base.name);
  const choice = fitting.length === 0 ? "" : `, or choose one of the same width: -m ${fitting.join(" or ")}`;
  const where = hub === null ? "which has no name here" : "which is not on this machine";
  const hint = hub === null ? "give its folder with -m" : `fetch it with: tts pull ${model}`;
  throw new TtsError("MODEL_NOT_HERE", `the voice ${name} was taken with ${model}, ${where}`, hint + choice);
}

/**
 * What a voice is taken with.
 * @throws TtsError MODEL_NOT_HERE, or USAGE where there are several: a voice fits one width only
 */
export function onlyBase(cacheDir: string): string {
  const names = basesHere(cacheDir).map((base) => base.name);
  if (names.length === 1) return names[0];
  if (names.length > 1)
    throw new TtsError("USAGE", `there are ${names.length} Base models here`, `choose one with -m: ${names.join(", ")}`);
  const known = Object.keys(KNOWN_MODELS).filter((name) => KNOWN_MODELS[name].modelType === "base");
  const commands = known.map((name) => `tts pull ${name}`).join(" or ");
  throw new TtsError("MODEL_NOT_HERE", "there is no Base model on this machine yet", `fetch one with: ${commands}`);
}

/**
 * The model that came last among those that have the speaker; the shipped voice comes before all others. undefined where none has it, or
 * none is asked for: the default model then says what it has.
 */
export function modelOfSpeaker(speaker: string | undefined, cacheDir: string): string | undefined {
  const wanted = speaker?.toLowerCase() ?? "none";
  if (wanted === "none") return undefined;
  return modelsHere(cacheDir).find(({ speakers }) => Object.hasOwn(speakers, wanted))?.name;
}

/** The shipped voices, then the pulled models, the one that came last first. */
export function modelsHere(cacheDir: string): ModelHere[] {
  return [...SHIPPED.flatMap((name) => describe(name, shippedCheckpoint())), ...pulledModels(cacheDir)];
}

const basesHere = (cacheDir: string) => pulledModels(cacheDir).filter(({ modelType }) => modelType === "base");

/** Of each model the revision that was pulled last, if it is whole. */
function pulledModels(cacheDir: string): ModelHere[] {
  const all = listPulled(cacheDir);
  const latest = all.filter(({ hub }, i) => all.findIndex((pulled) => pulled.hub === hub) === i);
  return latest.filter((pulled) => firstMissing(pulled) === null).flatMap(({ directory, hub }) => describe(nameOf(hub), directory));
}

function describe(name: string, directory: string): ModelHere[] {
  try {
    return [{ name, ...readAbilities(directory) }];
  } catch {
    return []; // no checkpoint of this kind
  }
}
