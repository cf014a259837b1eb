// The voices that a served model speaks with: its speakers, and the cloned voices that fit it. Cloned voices
// are looked up in the list of their folder, so that no name of a request becomes a path.

import { statSync } from "node:fs";
import type { ModelFacts, Voice } from "../engine.ts";
import { asTtsError, TtsError } from "../errors.ts";
import { VoiceFolder } from "../formats/voice.ts";
import { nearest } from "../nearest.ts";
import { shown } from "./one-line.ts";

export { VOICE_NAME } from "../formats/voice.ts";

/** A voice as clients see it. */
export interface ServedVoice {
  /** What requests call it. */
  name: string;
  kind: "speaker" | "cloned";
  /** ISO 8601; "" for a speaker. */
  made: string;
}

export class ServedVoices {
  readonly folder: VoiceFolder;
  /** Whether a voice is being taken from a recording. */
  isTaking = false;
  /** Files that were read, until they change. */
  private readonly known = new Map<string, { changedMs: number; voice: Voice }>();

  constructor(
    voicesDir: string,
    private readonly facts: () => ModelFacts,
  ) {
    this.folder = new VoiceFolder(voicesDir);
  }

  /** Speakers first. Voices that come, change or go are seen at the next call. */
  list(): ServedVoice[] {
    const speakers = Object.keys(this.facts().prompt.speakers).map(
      (name): ServedVoice => ({ name, kind: "speaker", made: "" }),
    );
    const cloned = this.cloned().map(
      ({ name, provenance }): ServedVoice => ({ name, kind: "cloned", made: provenance.made }),
    );
    return [...speakers, ...cloned];
  }

  /**
   * The options that speak with a voice.
   * @throws TtsError VOICE_UNKNOWN with the nearest name
   */
  named(name: string | undefined): { speaker?: string; voice?: Voice } {
    const { modelType, speakers } = this.facts().prompt;
    if (name === undefined && modelType !== "base") return {};
    const cloned = this.cloned();
    if (name === undefined && cloned.length > 0) return { voice: cloned[0] };
    if (name !== undefined && Object.hasOwn(speakers, name)) return { speaker: name };
    const voice = cloned.find((one) => one.name === name);
    if (voice !== undefined) return { voice };
    const names = this.list().map((one) => one.name);
    const guess = nearest(name ?? "", names);
    throw new TtsError(
      "VOICE_UNKNOWN",
      name === undefined ? "this model has no voice yet" : `there is no voice ${shown(name)}`,
      names.length === 0
        ? "add one from a recording"
        : guess === null
          ? `known: ${names.join(", ")}`
          : `did you mean ${guess}?`,
    );
  }

  /** Those that the model can use, by name. */
  private cloned(): Voice[] {
    const { prompt, shape } = this.facts();
    if (prompt.modelType !== "base") return [];
    return this.names()
      .map((name) => this.read(name))
      .filter((voice) => voice !== null)
      .filter(({ codebookSize, xVector }) => xVector.length === shape.hidden && codebookSize === shape.codes);
  }

  /** @throws TtsError INTERNAL for a folder that cannot be read: no client can mend that */
  private names(): string[] {
    try {
      return this.folder.names();
    } catch (cause) {
      throw new TtsError("INTERNAL", asTtsError(cause).inOneLine, "set TTS_VOICES to a folder", { cause });
    }
  }

  /** Null for a file that is damaged or has just gone: the others are served. */
  private read(name: string): Voice | null {
    try {
      const changedMs = statSync(this.folder.path(name)).mtimeMs;
      const known = this.known.get(name);
      if (known?.changedMs === changedMs) return known.voice;
      const voice = this.folder.read(name);
      this.known.set(name, { changedMs, voice });
      return voice;
    } catch {
      return null;
    }
  }
}
