// Fair turns among clients: a speech's turn comes after those that its client has asked for before, and level
// with the first ones of others. (Start-time fair queueing, where every speech counts as one.)

export class Turns {
  /** The turn of the latest speech that has begun. */
  private now = 0;
  /** Client -> its last turn, where that is still to come. */
  private readonly last = new Map<string, number>();

  /** @returns the smaller, the sooner; equal ones in the order they came */
  next(client: string): number {
    const turn = Math.max(this.now, (this.last.get(client) ?? -1) + 1);
    this.last.set(client, turn);
    return turn;
  }

  /** Clients whose turns have all begun are level with newcomers again. */
  begin(turn: number): void {
    this.now = Math.max(this.now, turn);
    for (const [client, last] of this.last) if (last < this.now) this.last.delete(client);
  }

  /** While nobody waits, turns begin anew, so that they stay small. */
  reset(): void {
    this.now = 0;
    this.last.clear();
  }
}
