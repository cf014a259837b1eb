// Reads a JSON file of a checkpoint or of a bundle key by key. Every value is checked; every failure names
// file, key and value.

import { type ErrorCode, meaningOf, TtsError } from "../errors.ts";
import { readRegularFile } from "../io/read.ts";
import { isWhole } from "../ranges.ts";

/** How a fault in the file is reported. */
export interface JsonFault {
  code: ErrorCode;
  /** The hint when a value is wrong. */
  hint: string;
  /** The hint when the file cannot be read at all. */
  unreadable: string;
  /** Nothing of what stands in it is shown. */
  isSecret?: boolean;
}

/** One JSON object with errors that name file and key. */
export class JsonFile {
  private constructor(
    readonly file: string,
    private readonly value: Record<string, unknown>,
    private readonly fault: JsonFault,
    private readonly path = "",
  ) {}

  static read(file: string, fault: JsonFault): JsonFile {
    let value: unknown;
    try {
      // Windows editors put a byte order mark at the start
      value = JSON.parse(
        readRegularFile(file)
          .toString()
          .replace(/^\uFEFF/, ""),
      );
    } catch (cause) {
      const isText = cause instanceof SyntaxError;
      const why = isText ? (fault.isSecret ? "" : ` (${cause.message})`) : meaningOf(cause, "read").what;
      const what = isText ? `is not JSON${why}` : `cannot be read (${why})`;
      throw new TtsError(fault.code, `${file} ${what}`, fault.unreadable, fault.isSecret ? {} : { cause });
    }
    if (!isObject(value)) throw new TtsError(fault.code, `${file}: holds no JSON object`, fault.hint);
    return new JsonFile(file, value, fault);
  }

  /** An object that comes from no file. */
  static of(title: string, value: Record<string, unknown>, fault: JsonFault): JsonFile {
    return new JsonFile(title, value, fault);
  }

  /** The error for a value that only the caller can judge. */
  wrong(what: string): TtsError {
    return new TtsError(this.fault.code, `${this.file}: ${what}`, this.fault.hint);
  }

  private get<T>(key: string, type: string, accept: (value: unknown) => boolean, fallback?: T): T {
    const value = Object.hasOwn(this.value, key) ? this.value[key] : undefined;
    if (value === undefined && fallback !== undefined) return fallback;
    if (accept(value)) return value as T;
    throw this.wrong(
      `${this.path}${key} is ${this.fault.isSecret ? "something else" : shown(value)}, not ${type}`,
    );
  }

  number(key: string, fallback?: number): number {
    return this.get(
      key,
      "a number",
      (value) => typeof value === "number" && Number.isFinite(value),
      fallback,
    );
  }
  /** A whole number of at least 0. */
  count(key: string, fallback?: number): number {
    return this.get(key, "a whole number", (value) => isWhole(value, 0, Number.MAX_SAFE_INTEGER), fallback);
  }
  /** A whole number of at least 1. */
  size(key: string, fallback?: number): number {
    return this.get(
      key,
      "a whole number above 0",
      (value) => isWhole(value, 1, Number.MAX_SAFE_INTEGER),
      fallback,
    );
  }
  /** A whole number between two bounds, both included. */
  within(key: string, least: number, most: number): number {
    return this.get(key, `a whole number from ${least} to ${most}`, (value) => isWhole(value, least, most));
  }
  /** A row number of a table with `rows` rows. */
  id(key: string, rows: number): number {
    return this.get(key, `a number from 0 to ${rows - 1}`, (value) => isId(value, rows));
  }
  string(key: string, fallback?: string): string {
    return this.get(key, "a string", (value) => typeof value === "string", fallback);
  }
  /** One of a few known strings. */
  choice<T extends string>(key: string, known: readonly T[]): T {
    return this.get(key, `one of ${known.join(", ")}`, (value) => known.includes(value as T));
  }
  strings(key: string): string[] {
    return this.get(
      key,
      "a list of strings",
      (value) => Array.isArray(value) && value.every((entry) => typeof entry === "string"),
    );
  }
  boolean(key: string, fallback?: boolean): boolean {
    return this.get(key, "true or false", (value) => typeof value === "boolean", fallback);
  }
  counts(key: string, fallback?: number[]): number[] {
    const accept = (value: unknown) =>
      Array.isArray(value) && value.every((n) => isWhole(n, 1, Number.MAX_SAFE_INTEGER));
    return this.get(key, "a list of whole numbers", accept, fallback);
  }
  /** Numbers above 0, at least one. */
  sizes(key: string): number[] {
    const accept = (value: unknown) =>
      Array.isArray(value) && value.length > 0 && value.every((n) => Number.isFinite(n) && n > 0);
    return this.get(key, "a list of numbers above 0", accept);
  }
  object(key: string, fallback?: Record<string, unknown>): JsonFile {
    return new JsonFile(
      this.file,
      this.get(key, "an object", isObject, fallback),
      this.fault,
      `${this.path}${key}.`,
    );
  }
  values(key: string): unknown[] {
    return this.get(key, "a list", Array.isArray);
  }
  /** Objects in order, each read by `read`. */
  list<T>(key: string, read: (file: JsonFile) => T): T[] {
    const entries = this.get<Record<string, unknown>[]>(
      key,
      "a list of objects",
      (value) => Array.isArray(value) && value.every(isObject),
    );
    return entries.map((entry, i) =>
      read(new JsonFile(this.file, entry, this.fault, `${this.path}${key}.${i}.`)),
    );
  }
  /** Absent or exactly `known`, for choices of the architecture that this program does not support. */
  only(key: string, known: string | number | boolean): void {
    this.get(key, `${JSON.stringify(known)}, the only supported value`, (value) => value === known, known);
  }
  has(key: string): boolean {
    return Object.hasOwn(this.value, key) && this.value[key] !== null;
  }
  entries(): [string, unknown][] {
    return Object.entries(this.value);
  }
  /** Every value by its key, each read by `read`. */
  record<T>(read: (file: JsonFile, key: string) => T): Record<string, T> {
    return Object.fromEntries(Object.keys(this.value).map((key) => [key, read(this, key)]));
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Whether a value of a JSON file is a row number below `rows`. */
export const isId = (value: unknown, rows: number): value is number => isWhole(value, 0, rows - 1);

/** A value for a message: on one line, and cut short. */
function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? "missing";
  return text.length <= 80 ? text : `${text.slice(0, 80)}...`;
}
