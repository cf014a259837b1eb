// The processes of a player, which may sound only in their turn, and end together.

/** The right to sound, which lasts as long as the player does. */
export interface PlayerTurn {
  /** A locked file that the player inherits. */
  readonly file: number;
  /** Tells those that wait which group of processes may have to be ended. */
  notePlayer(group: number): void;
}

/** Silences a player and all that it has started. */
export function endGroup(group: number): void {
  try {
    process.kill(-group, "SIGKILL");
  } catch {
    // it has gone
  }
}
