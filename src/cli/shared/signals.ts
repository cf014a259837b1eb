// Signals to commands that run until one ends them.

/** Exit statuses where a second signal cuts the end short. */
const SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const;

/** @param act called with the exit status at the first signal; the second one ends the process at once */
export function onFirstSignal(act: (status: number) => void): void {
  let hasCome = false;
  for (const [signal, status] of Object.entries(SIGNALS)) {
    process.removeAllListeners(signal);
    process.on(signal, () => {
      if (hasCome) process.exit(status);
      hasCome = true;
      act(status);
    });
  }
}

/** Resolves with the first signal; the second one ends the process at once. */
export function firstSignal(): Promise<null> {
  const { promise, resolve } = Promise.withResolvers<null>();
  onFirstSignal(() => resolve(null));
  return promise;
}
