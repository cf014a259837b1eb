// A text that is still being written: pieces come while earlier ones are spoken.

import { TtsError } from "../errors.ts";
import { LIMITS } from "../limits.ts";

/** Something without a letter or a number is answered with silence, such as a lone smile of a chat. */
export const canBeSaid = (text: string) => /[\p{L}\p{N}]/u.test(text);

export class TextPieces implements AsyncIterable<string> {
  private readonly waiting: string[] = [];
  private bytes = 0;
  private hasWords = false;
  private hasEnded = false;
  private wake = () => {};

  get isWhole(): boolean {
    return this.hasEnded;
  }

  /** @throws TtsError TEXT_TOO_LONG */
  push(text: string): void {
    if (text === "") return;
    this.bytes += Buffer.byteLength(text);
    if (this.bytes > LIMITS.textBytes)
      throw new TtsError("TEXT_TOO_LONG", `the text is longer than ${LIMITS.textBytes} bytes`);
    this.hasWords ||= canBeSaid(text);
    this.waiting.push(text);
    this.wake();
  }

  end(): void {
    this.hasEnded = true;
    this.wake();
  }

  /** @returns whether there is something to say; known at its first word, or at the end */
  async begun(): Promise<boolean> {
    while (!this.hasWords && !this.hasEnded) await this.change();
    return this.hasWords;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string> {
    for (;;) {
      const text = this.waiting.join("");
      this.waiting.length = 0;
      if (text !== "") yield text;
      else if (this.hasEnded) return;
      else await this.change();
    }
  }

  private async change(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.wake = resolve;
    });
  }
}
