// The JSON files of a checkpoint, read key by key: every value is checked, every failure names file, key and value.

import { readFileSync } from "node:fs";
import { TtsError } from "../errors.ts";

/** One JSON file with errors that name file and key. */
export class JsonFile {
  private constructor(
    readonly file: string,
    private readonly value: Record<string, unknown>,
    private readonly path = "",
  ) {}

  static read(file: string): JsonFile {
    let value: unknown;
    try {
      value = JSON.parse(readFileSync(file, "utf8"));
    } catch (cause) {
      const why = cause instanceof SyntaxError ? `is not JSON (${cause.message})` : `cannot be read (${(cause as Error).message})`;
      throw new TtsError("CHECKPOINT_INVALID", `${file} ${why}`, "download or copy the file again", { cause });
    }
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw invalid(file, "holds no JSON object");
    return new JsonFile(file, value as Record<string, unknown>);
  }

  private get<T>(key: string, type: string, accept: (value: unknown) => boolean, fallback?: T): T {
    const value = this.value[key];
    if (value === undefined && fallback !== undefined) return fallback;
    if (!accept(value)) throw invalid(this.file, `${this.path}${key} is ${JSON.stringify(value) ?? "missing"}, not ${type}`);
    return value as T;
  }

  number(key: string, fallback?: number): number {
    return this.get(key, "a number", (value) => typeof value === "number" && Number.isFinite(value), fallback);
  }
  /** A whole number of at least 0. */
  count(key: string, fallback?: number): number {
    return this.get(key, "a whole number", (value) => Number.isSafeInteger(value) && (value as number) >= 0, fallback);
  }
  /** A whole number of at least 1. */
  size(key: string, fallback?: number): number {
    return this.get(key, "a whole number above 0", (value) => Number.isSafeInteger(value) && (value as number) > 0, fallback);
  }
  /** A row of a table that has `rows` of them. */
  id(key: string, rows: number): number {
    return this.get(key, `a number from 0 to ${rows - 1}`, (value) => isId(value, rows));
  }
  string(key: string, fallback?: string): string {
    return this.get(key, "a string", (value) => typeof value === "string", fallback);
  }
  boolean(key: string, fallback?: boolean): boolean {
    return this.get(key, "true or false", (value) => typeof value === "boolean", fallback);
  }
  counts(key: string, fallback?: number[]): number[] {
    return this.get(
      key,
      "a list of whole numbers",
      (value) => Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n > 0),
      fallback,
    );
  }
  object(key: string, fallback?: Record<string, unknown>): JsonFile {
    const isObject = (value: unknown) => typeof value === "object" && value !== null && !Array.isArray(value);
    return new JsonFile(this.file, this.get(key, "an object", isObject, fallback), `${this.path}${key}.`);
  }
  /** Absent or exactly `known`: the choices of an architecture that nothing here makes. */
  only(key: string, known: string | number | boolean): void {
    this.get(key, `${JSON.stringify(known)}, the only value known here`, (value) => value === known, known);
  }
  has(key: string): boolean {
    return this.value[key] !== undefined && this.value[key] !== null;
  }
  entries(): [string, unknown][] {
    return Object.entries(this.value);
  }
}

/** Whether a value of a JSON file is a row number below `rows`. */
export const isId = (value: unknown, rows: number): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) < rows;

export function invalid(file: string, what: string, hint = "is this an official Qwen3-TTS 12 Hz checkpoint?"): TtsError {
  return new TtsError("CHECKPOINT_INVALID", `${file}: ${what}`, hint);
}
