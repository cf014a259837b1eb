// The cloned voice that a command is to speak with.

import { loadConfig } from "../../config.ts";
import { receiveVoice, type Voice, VoiceFolder } from "../../formats/voice.ts";

/**
 * A voice of the user's folder, or a voice file.
 * @throws TtsError VOICE_UNKNOWN, VOICE_INVALID, INPUT_UNREADABLE
 */
export async function readVoice(name: string | undefined): Promise<Voice | undefined> {
  if (name === undefined) return undefined;
  return name.includes("/") || name.endsWith(".json")
    ? receiveVoice(name)
    : new VoiceFolder(loadConfig().voicesDir).read(name);
}
