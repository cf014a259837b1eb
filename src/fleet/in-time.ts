// A limit of time for work at the hub: the client waits for ever where the hub has lost what was asked for.

import { FLEET_LIMITS } from "../config.ts";

/** @throws Error "timeout" after {@link FLEET_LIMITS.objectMs}; the work goes on unheard */
export async function inTime<T>(work: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error("timeout")), FLEET_LIMITS.objectMs);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
