// A message of the hub as a JSON object that is read strictly: whoever reaches the hub can write one. Pure.

import { JsonFile } from "../formats/json.ts";

/** @param sender the command that writes such messages @throws TtsError REQUEST_INVALID */
export function readMessage(title: string, bytes: Uint8Array, mostBytes: number, sender: string): JsonFile {
  const fault = { code: "REQUEST_INVALID", hint: `send what ${sender} sends`, unreadable: "" } as const;
  const empty = JsonFile.of(title, {}, fault);
  if (bytes.length > mostBytes) throw empty.wrong(`it has ${bytes.length} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString());
  } catch {
    throw empty.wrong("it is no JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw empty.wrong("it is no JSON object");
  return JsonFile.of(title, value as Record<string, unknown>, fault);
}
