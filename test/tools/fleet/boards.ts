// Many boards in a process of their own, for make fleet-load: they say nothing, at the right moment.

import { FLEET_LIMITS } from "../../../src/config.ts";
import { House } from "../../fleet/_house.ts";

/** The sound that all announcements of the tool have. */
export const TEXT = "A sound for everybody.";

export interface Simulated {
  port: number;
  /** The number of the first board, and how many there are. */
  first: number;
  count: number;
  rooms: number;
}

export const roomOf = (board: number, rooms: number) => `room-${board % rooms}`;

/** Joins with all of them, says so on stdout, and stays until it is ended. */
export async function simulate({ count, first, port, rooms }: Simulated): Promise<void> {
  const house = House.at(port);
  const numbers = Array.from({ length: count }, (_, i) => first + i);
  // a few at a time, as they come up after a power cut
  const joining = Array.from({ length: 16 }, async () => {
    for (let number = numbers.pop(); number !== undefined; number = numbers.pop()) {
      const limits = { ...FLEET_LIMITS, senderBurst: 1_000 }; // all comes from one sender
      const parts = { limits, model: null, rooms: [roomOf(number, rooms)] };
      await house.board(`board-${number}`, parts);
    }
  });
  await Promise.all(joining);
  console.log("joined");
}
