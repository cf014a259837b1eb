// Expected failures: one class, one table of codes, and their form on the wire. Imports nothing.
// Programmer errors stay plain TypeError and RangeError.

/** Every code a TtsError can carry, with the exit status the command line gives it. */
const EXIT_STATUS = {
  USAGE: 2, // an option or argument is wrong
  TEXT_EMPTY: 2, // nothing in the text can be spoken
  TEXT_TOO_LONG: 2,
  TEXT_ENCODING: 2, // not UTF-8
  INPUT_UNREADABLE: 2,
  SPEAKER_UNKNOWN: 2,
  LANGUAGE_UNKNOWN: 2,
  MODEL_UNKNOWN: 2, // no such name or directory
  MODEL_NOT_HERE: 2, // known, but not pulled yet
  MODEL_UNSUITABLE: 2, // the model cannot do what was asked
  VOICE_UNKNOWN: 2,
  VOICE_INVALID: 2, // a voice file that is damaged, or of a newer version
  CODES_INVALID: 2, // a codes file that cannot be decoded
  REFERENCE_UNUSABLE: 2, // a recording to clone that is too short, too long, silent or not made of numbers
  REQUEST_INVALID: 2, // what a client sent to a server cannot be understood
  CHECKPOINT_INVALID: 3, // a source checkpoint that is incomplete, damaged or of another kind
  BUNDLE_INVALID: 3, // a converted bundle that is incomplete, damaged or of another version
  HUB_MISMATCH: 3, // files of a hub that are not the ones they should be
  LIBRARY_MISSING: 4,
  LIBRARY_MISMATCH: 4, // found, but of another version or layout
  LIBRARY_FAILED: 4, // a call into it failed
  NPU_UNAVAILABLE: 4, // no device, no driver, no permission, or in use
  NPU_MODEL_INVALID: 3, // a model file that this device or its runtime cannot use
  OUTPUT_FAILED: 5, // unwritable, full, or closed from the start
  READER_GONE: 141, // of a pipe, such as head: what SIGPIPE makes of other programs
  STAGE_DIED: 6, // a worker ended by itself
  NPU_FAILED: 6, // a call failed while the model ran
  STAGE_TIMEOUT: 8, // no answer: a native call may hang, and only the end of the process ends it
  HUB_UNREACHABLE: 7,
  HUB_REFUSED: 7, // it answers, but not with the files
  MODEL_BUSY: 7, // another process pulls it
  CANCELLED: 130,
  INTERNAL: 1,
} as const;

export type ErrorCode = keyof typeof EXIT_STATUS;

/** What to do about a damaged bundle; those in the cache are made again without asking. */
export const BUNDLE_HINT = "make it again from its checkpoint: tts convert DIR -o BUNDLE";

/** A setting marked in a hint: `{maxFrames}`, `{cpus.talker}`. */
const SETTING = /\{([a-z][\w.]*)\}/gi;

/** A hint whose marked settings are spelled as its reader writes them. */
export function spellSettings(markedHint: string, spell: (setting: string) => string): string {
  return markedHint.replace(SETTING, (_, setting) => spell(setting));
}

/** A failure a user can act on: what happened with the value in it, and what to do next. */
export class TtsError extends Error {
  override readonly name = "TtsError";
  /** For programs: settings have the names of engine.ts. */
  readonly hint: string;

  /** @param markedHint names settings as `{maxFrames}`, so that the command line can spell them as options */
  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly markedHint = "",
    options: { cause?: unknown } = {},
  ) {
    super(message, options);
    this.hint = spellSettings(markedHint, (setting) => setting);
  }

  /**
   * What happened and what to do next. (`line` is taken: JavaScriptCore puts the number of the source line
   * there.)
   */
  get inOneLine(): string {
    return this.inOneLineWith(this.hint);
  }

  /** @param hint the hint, spelled for another reader */
  inOneLineWith(hint: string): string {
    const parts = [this.message, hint].filter((part) => part !== "");
    return parts.join("; ").replace(/\s*\n\s*/g, " ");
  }

  get exitStatus(): number {
    return EXIT_STATUS[this.code];
  }
}

/** An error as it crosses from a worker to the main thread. */
export interface ErrorOnTheWire {
  code: ErrorCode;
  message: string;
  /** With its settings marked. */
  hint: string;
  /** Only for failures nobody expected. */
  stack?: string;
}

/** Any thrown value as a TtsError; what nobody expected becomes INTERNAL and keeps its cause. */
export function asTtsError(thrown: unknown): TtsError {
  if (thrown instanceof TtsError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new TtsError("INTERNAL", message, "", { cause: thrown });
}

export function toWire(thrown: unknown): ErrorOnTheWire {
  const { code, message, markedHint, cause } = asTtsError(thrown);
  return { code, message, hint: markedHint, ...(cause instanceof Error ? { stack: cause.stack } : {}) };
}

export function fromWire(wire: ErrorOnTheWire): TtsError {
  const cause =
    wire.stack === undefined ? undefined : Object.assign(new Error(wire.message), { stack: wire.stack });
  return new TtsError(wire.code, wire.message, wire.hint, { cause });
}
