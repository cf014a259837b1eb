// The text of a stream: pieces come while earlier ones are spoken.

import { TtsError } from "../../errors.ts";
import { LIMITS } from "../../limits.ts";

/** Something without a letter or a number is answered with silence, such as a lone smile of a chat. */
export const canBeSaid = (text: string) => /[\p{L}\p{N}]/u.test(text);

export class TextPieces implements AsyncIterable<string> {
  private readonly waiting: string[] = [];
  private bytes = 0;
  private hasWords = false;
  private hasEnded = false;
  private failure: TtsError | null = null;
  private wake = () => {};

  push(text: string): void {
    if (this.hasEnded || text === "") return;
    this.bytes += Buffer.byteLength(text);
    if (this.bytes > LIMITS.textBytes) {
      this.fail(new TtsError("TEXT_TOO_LONG", `the text is longer than ${LIMITS.textBytes} bytes`));
      return;
    }
    this.hasWords ||= canBeSaid(text);
    this.waiting.push(text);
    this.wake();
  }

  end(): void {
    this.hasEnded = true;
    this.wake();
  }

  /** No more will come, and what has come is not the whole. */
  fail(error: TtsError): void {
    if (this.hasEnded) return;
    this.failure = error;
    this.end();
  }

  /** @returns whether there is something to say; known at its first word, or at the end */
  async begun(): Promise<boolean> {
    while (!this.hasWords && !this.hasEnded) await this.change();
    this.assertWell();
    return this.hasWords;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string> {
    for (;;) {
      this.assertWell();
      const text = this.waiting.join("");
      this.waiting.length = 0;
      if (text !== "") yield text;
      else if (this.hasEnded) return;
      else await this.change();
    }
  }

  private assertWell(): void {
    if (this.failure !== null) throw this.failure;
  }

  private async change(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.wake = resolve;
    });
  }
}
