// Expected failures: one class, one table of codes, one of the system's errors on files, and their form on
// the wire. Imports nothing. Programmer errors stay plain TypeError and RangeError.

/** Every code a TtsError can carry, with the exit status the command line gives it. */
const EXIT_STATUS = {
  USAGE: 2, // an option or argument is wrong
  TEXT_EMPTY: 2, // nothing in the text can be spoken
  TEXT_TOO_LONG: 2,
  TEXT_ENCODING: 2, // not UTF-8
  INPUT_UNREADABLE: 2,
  SPEAKER_UNKNOWN: 2,
  LANGUAGE_UNKNOWN: 2,
  MODEL_UNSUITABLE: 2, // the model cannot do what was asked
  VOICE_UNKNOWN: 2,
  VOICE_INVALID: 2, // a voice file that is damaged, or of a newer version
  CODES_INVALID: 2, // a codes file that cannot be decoded
  REFERENCE_UNUSABLE: 2, // a recording to clone that is too short, too long, silent or not made of numbers
  REQUEST_INVALID: 2, // what a client sent to a server cannot be understood
  MODEL_UNKNOWN: 3, // no such name or directory
  MODEL_NOT_HERE: 3, // known, but not pulled yet
  CHECKPOINT_INVALID: 3, // a source checkpoint that is incomplete, damaged or of another kind
  BUNDLE_INVALID: 3, // a converted bundle that is incomplete, damaged or of another version
  HUB_MISMATCH: 3, // files of a hub that are not the ones they should be
  LIBRARY_MISSING: 4,
  LIBRARY_MISMATCH: 4, // found, but of another version or layout
  LIBRARY_FAILED: 4, // a call into it failed
  NPU_UNAVAILABLE: 4, // no device, no driver, no permission, or in use
  NPU_MODEL_INVALID: 3, // a model file that this device or its runtime cannot use
  OUTPUT_FAILED: 5, // unwritable, full, or closed from the start
  SPEAKER_BUSY: 5, // other announcements spoke, or waited, for too long
  READER_GONE: 141, // of a pipe, such as head: what SIGPIPE makes of other programs
  STAGE_DIED: 6, // a worker ended by itself
  NPU_FAILED: 6, // a call failed while the model ran
  STAGE_TIMEOUT: 8, // no answer: a native call may hang, and only the end of the process ends it
  HUB_UNREACHABLE: 7,
  HUB_REFUSED: 7, // it answers, but not with the files
  MODEL_BUSY: 7, // another process pulls it
  ROOM_EMPTY: 2, // no board is there for a room
  FLEET_UNREACHABLE: 7, // no hub of boards, or no broker
  FLEET_REFUSED: 7, // it is there, but it does not let us in, or has no room left
  BOARDS_REFUSED: 7, // boards that are there do not take an announcement
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

/** Conversion takes finite weights alone: those that give NaN have been damaged since. */
export const areNaN = (what: string) =>
  new TtsError(
    "BUNDLE_INVALID",
    `${what} are NaN: a file of the model is damaged`,
    "tts models --verify has a model in the cache made again, tts convert DIR -o BUNDLE any other",
  );

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

/** What was to be done with the file. */
export type FileUse = "read" | "write";

/** What happened, and what to do next. */
type Meaning = readonly [what: string, hint: string];

const NEEDS_A_FILE = "name a file, a pipe or -";

const MEANINGS: Readonly<Record<string, Meaning>> = {
  EACCES: ["no permission", "make it readable for this user"],
  EBADF: ["it is closed", NEEDS_A_FILE],
  EBUSY: ["another program has it", "end that program, or choose another file"],
  EDQUOT: ["your disk quota is used up", "free some space"],
  EEXIST: ["something of that name is there", "move it away, or choose another name"],
  EFBIG: ["the file is too large", "give a smaller one"],
  EIO: ["the device failed", "look into dmesg, and try another file"],
  EISDIR: ["it is a folder", "name a file in it"],
  ELOOP: ["its links lead in a circle", "name the file itself"],
  EMFILE: ["this program has too many files open", "raise the limit with ulimit -n"],
  ENAMETOOLONG: ["its name is too long", "at most 255 bytes, and 4095 with its folders"],
  ENFILE: ["the system has too many files open", "close other programs"],
  ENODEV: ["the device is not there", NEEDS_A_FILE],
  ENOENT: ["there is no such file", "check its name and its folder"],
  ENOSPC: ["the disk is full", "free some space"],
  ENOTDIR: ["a part of its path is no folder", "check the path"],
  ENXIO: ["it is a socket, or a device that is not there", NEEDS_A_FILE],
  EPERM: ["the system does not allow it", "choose another file"],
  EPIPE: ["its reader has gone", ""],
  EROFS: ["the disk is read-only", "choose another place"],
  ESTALE: ["the network disk has lost it", "mount the disk again"],
  ETXTBSY: ["a program in it is running", "end that program, or choose another name"],
};

/** The rows that mean something else where a file is written. */
const WRITING: Readonly<Record<string, Meaning>> = {
  EACCES: ["no permission", "choose a place you may write to"],
  EFBIG: ["it may grow no larger", "raise the limit with ulimit -f, or choose another disk"],
  EIO: ["the device failed", "look into dmesg, and choose another disk"],
  ENOENT: ["its folder does not exist", "make the folder first"],
  EPERM: ["the system does not allow it", "choose a place you may write to"],
};

/** Calls that change what is on a disk. */
const WRITES: ReadonlySet<string> = new Set(
  "chmod copyfile ftruncate link mkdir rename rm rmdir symlink unlink utime write".split(" "),
);

/** The code of an error that comes from the system, or "". */
export function systemCode(error: unknown): string {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === "string" && /^E[A-Z0-9]+$/.test(code) ? code : "";
}

/** @param error what the file system threw; an error without a row keeps its own words */
export function meaningOf(error: unknown, use: FileUse): { what: string; hint: string } {
  const code = systemCode(error);
  const row = (use === "write" ? WRITING[code] : undefined) ?? MEANINGS[code];
  const [what, hint] = row ?? [error instanceof Error ? error.message : String(error), ""];
  return { what, hint };
}

/**
 * The failure of a read or write as an error of one line; a TtsError passes.
 * @param name what the user calls the file
 * @param hint what to do next, if that does not depend on the failure
 */
export function fileError(
  code: ErrorCode,
  name: string,
  cause: unknown,
  { use, hint }: { use: FileUse; hint?: string },
): TtsError {
  if (cause instanceof TtsError) return cause;
  const meaning = meaningOf(cause, use);
  return new TtsError(code, `cannot ${use} ${name}: ${meaning.what}`, hint ?? meaning.hint, { cause });
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

/**
 * Any thrown value as a TtsError. An error of the file system names its path; what nobody expected becomes
 * INTERNAL. Both keep their cause.
 */
export function asTtsError(thrown: unknown): TtsError {
  if (thrown instanceof TtsError) return thrown;
  const { path, syscall } = (thrown ?? {}) as NodeJS.ErrnoException;
  if (systemCode(thrown) !== "" && path !== undefined)
    return WRITES.has(syscall ?? "")
      ? fileError("OUTPUT_FAILED", path, thrown, { use: "write" })
      : fileError("INPUT_UNREADABLE", path, thrown, { use: "read" });
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new TtsError("INTERNAL", message, "", { cause: thrown });
}

export function toWire(thrown: unknown): ErrorOnTheWire {
  const { code, message, markedHint, cause } = asTtsError(thrown);
  return { code, message, hint: markedHint, ...(cause instanceof Error ? { stack: cause.stack } : {}) };
}

/** @returns false for what another version of the program, or a stranger, calls a failure */
export const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(EXIT_STATUS, code);

export function fromWire(wire: ErrorOnTheWire): TtsError {
  const cause =
    wire.stack === undefined ? undefined : Object.assign(new Error(wire.message), { stack: wire.stack });
  return new TtsError(wire.code, wire.message, wire.hint, { cause });
}
