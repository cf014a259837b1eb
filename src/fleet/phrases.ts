// Phrases that were made once and are heard on many boards: at the hub they have the key and the form of the
// phrase cache, and check themselves.

import type { ObjectInfo } from "@nats-io/obj";
import { type PhraseCache, type PhraseSound, readPhraseFile, sumOfFile } from "../announce/phrases.ts";
import { FLEET_LIMITS } from "../config.ts";
import { TtsError } from "../errors.ts";
import { newHash } from "../io/hash.ts";
import { asHubError, type Hub } from "./hub.ts";
import { inTime } from "./in-time.ts";
import { PHRASE_BUCKET } from "./names.ts";

export class SharedPhrases {
  /**
   * @param own what was made here
   * @param others what others made, kept apart: what a stranger calls "Dinner is ready." is not said by
   * announcements of this machine alone
   */
  constructor(
    private readonly hub: Pick<Hub, "manager" | "phrases" | "url">,
    readonly own: PhraseCache,
    private readonly others: PhraseCache,
  ) {}

  /**
   * Brings a phrase that was made here to the hub, unless it is there.
   * @returns KEY.SUM, and the bytes of its file
   * @throws TtsError FLEET_REFUSED where the hub is full, FLEET_UNREACHABLE; OUTPUT_FAILED where the cache
   * has not kept it
   */
  async share(key: string): Promise<{ phrase: string; bytes: number }> {
    const bytes = this.own.file(key);
    if (bytes === null)
      throw new TtsError(
        "OUTPUT_FAILED",
        "the phrase cache does not keep what was made",
        "free some of its disk",
      );
    try {
      const there = await inTime(this.hub.phrases.info(key));
      const digest = `SHA-256=${newHash().update(bytes).digest("base64url")}`;
      if (there === null || there.deleted || there.digest.replace(/=+$/, "") !== digest)
        await inTime(this.hub.phrases.putBlob({ name: key }, bytes));
    } catch (error) {
      throw asHubError(this.hub.url, error);
    }
    return { phrase: `${key}.${sumOfFile(bytes)}`, bytes: bytes.length };
  }

  /**
   * A phrase from the disk, else from the hub; then it is kept here too.
   * @param phrase KEY.SUM
   * @throws TtsError FLEET_REFUSED where it is not there, damaged or another one, FLEET_UNREACHABLE
   */
  async fetch(phrase: string): Promise<PhraseSound> {
    const [key, sum] = phrase.split(".");
    const isIt = (bytes: Buffer | null) => bytes !== null && sumOfFile(bytes) === sum;
    const kept = [this.own.file(key), this.others.file(key)].find(isIt);
    const bytes = kept ?? (await this.fetchFile(key));
    const sound = bytes != null && isIt(bytes) ? readPhraseFile(key, bytes) : null;
    if (bytes == null || sound === null)
      throw new TtsError(
        "FLEET_REFUSED",
        `the hub has ${bytes === null ? "no" : "a damaged"} sound ${key.slice(0, 12)}`,
      );
    try {
      if (kept === undefined) this.others.putFile(key, bytes);
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
