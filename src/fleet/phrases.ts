// Phrases that were made once and are heard on many boards: at the hub they have the key and the form of the
// phrase cache, and check themselves.

import type { ObjectInfo } from "@nats-io/obj";
import { type PhraseCache, type PhraseSound, readPhraseFile } from "../announce/phrases.ts";
import { FLEET_LIMITS } from "../config.ts";
import { TtsError } from "../errors.ts";
import { asHubError, type Hub } from "./hub.ts";
import { inTime } from "./in-time.ts";
import { PHRASE_BUCKET } from "./names.ts";

export class SharedPhrases {
  constructor(
    private readonly hub: Pick<Hub, "manager" | "phrases" | "url">,
    readonly cache: PhraseCache,
  ) {}

  /**
   * Brings a phrase of the cache to the hub, unless it is there.
   * @returns its bytes
   * @throws TtsError FLEET_REFUSED where the hub is full, FLEET_UNREACHABLE; OUTPUT_FAILED where the cache
   * has not kept it
   */
  async share(key: string): Promise<number> {
    const bytes = this.cache.file(key);
    if (bytes === null)
      throw new TtsError(
        "OUTPUT_FAILED",
        "the phrase cache does not keep what was made",
        "free some of its disk",
      );
    try {
      const there = await inTime(this.hub.phrases.info(key));
      if (there?.size !== bytes.length || there.deleted)
        await inTime(this.hub.phrases.putBlob({ name: key }, bytes));
    } catch (error) {
      throw asHubError(this.hub.url, error);
    }
    return bytes.length;
  }

  /**
   * A phrase from the cache, else from the hub; then it is kept here too.
   * @throws TtsError FLEET_REFUSED where it is not there or damaged, FLEET_UNREACHABLE
   */
  async fetch(key: string): Promise<PhraseSound> {
    const kept = this.cache.get(key);
    if (kept !== null) return kept;
    const bytes = await this.fetchFile(key);
    const sound = bytes === null ? null : readPhraseFile(key, bytes);
    if (bytes === null || sound === null)
      throw new TtsError(
        "FLEET_REFUSED",
        `the hub has ${bytes === null ? "no" : "a damaged"} sound ${key.slice(0, 12)}`,
      );
    try {
      this.cache.putFile(key, bytes);
    } catch {
      // a full or read-only disk: it is fetched again when it is due
    }
    return sound;
  }

  private async fetchFile(key: string): Promise<Buffer | null> {
    const { phrases, url } = this.hub;
    try {
      const info = await inTime(phrases.info(key));
      if (info === null || info.deleted) return null;
      if (info.size > FLEET_LIMITS.soundPartBytes)
        throw new TtsError(
          "FLEET_REFUSED",
          `a sound at the hub has ${info.size} bytes`,
          `at most ${FLEET_LIMITS.soundPartBytes}`,
        );
      return await this.read(info);
    } catch (error) {
      throw asHubError(url, error);
    }
  }

  /**
   * Asks for one chunk after the other. The client's own way makes a consumer for each reader: of a thousand
   * boards that read at once a few then heard nothing for half a minute.
   */
  private async read({ chunks, nuid, size }: ObjectInfo): Promise<Buffer | null> {
    const read: Uint8Array[] = [];
    for (let seq = 1; read.length < chunks; ) {
      const place = { seq, next_by_subj: `$O.${PHRASE_BUCKET}.C.${nuid}` };
      const chunk = await inTime(this.hub.manager.direct.getMessage(`OBJ_${PHRASE_BUCKET}`, place));
      if (chunk === null) return null;
      read.push(chunk.data);
      seq = chunk.seq + 1;
    }
    const bytes = Buffer.concat(read);
    return bytes.length === size ? bytes : null;
  }
}
