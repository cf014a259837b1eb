// Memory on a card of AXCL that belongs to one model. Addresses are numbers that only the library
// understands.

import { CARD_TO_HOST, HOST_TO_CARD, MALLOC_POLICY } from "./_axcl-abi.ts";
import type { ModelCalls } from "./_axcl-calls.ts";

export class CardMemory {
  /** Addresses to free. */
  private readonly addresses: bigint[] = [];

  constructor(private readonly calls: ModelCalls) {}

  /**
   * Takes memory on the card and zeroes it: some models need that even for outputs.
   * @param name of the tensor, for errors
   */
  allocate(name: string, bytes: number): bigint {
    const { calls } = this;
    const card = calls.take(`axclrtMalloc of ${bytes} bytes for ${name}`, (out) =>
      calls.library.axclrtMalloc(out, bytes, MALLOC_POLICY),
    );
    this.addresses.push(card);
    this.clear(card, bytes);
    return card;
  }

  clear(card: bigint, bytes: number): void {
    this.calls.check("axclrtMemset", this.calls.library.axclrtMemset(card, 0, bytes));
  }

  /** @param host address in this process */
  copyToCard(card: bigint, host: bigint, bytes: number): void {
    this.calls.check(
      "axclrtMemcpy to the card",
      this.calls.library.axclrtMemcpy(card, host, bytes, HOST_TO_CARD),
    );
  }

  /** @param host address in this process */
  copyFromCard(host: bigint, card: bigint, bytes: number): void {
    this.calls.check(
      "axclrtMemcpy from the card",
      this.calls.library.axclrtMemcpy(host, card, bytes, CARD_TO_HOST),
    );
  }

  /** Frees all of it and ignores what the calls return: the card may be gone. */
  free(): void {
    for (const card of this.addresses) this.calls.library.axclrtFree(card);
  }
}
