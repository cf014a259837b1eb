// Signals to commands that run until one ends them.

/** Exit statuses where a second signal cuts the end short. */
const SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const;

/** Resolves with the first signal; the second one ends the process at once. */
export function firstSignal(): Promise<null> {
  const { promise, resolve } = Promise.withResolvers<null>();
  let hasCome = false;
  for (const [signal, status] of Object.entries(SIGNALS)) {
    process.removeAllListeners(signal);
    process.on(signal, () => {
      if (hasCome) process.exit(status);
      hasCome = true;
      resolve(null);
    });
  }
  return promise;
}
