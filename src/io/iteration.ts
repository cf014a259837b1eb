// Iterations that others go on with: what a sound that is begun early, or left early, has in common wherever
// it comes from.

/** An iteration whose first step was taken, or is under way. Leaving it ends the rest. */
export async function* resumed<T>({
  first,
  rest,
}: {
  first: IteratorResult<T> | Promise<IteratorResult<T>>;
  rest: AsyncGenerator<T>;
}): AsyncGenerator<T> {
  try {
    const { done, value } = await first;
    if (done) return;
    yield value;
    yield* rest;
  } finally {
    await rest.return(undefined);
  }
}

/** The same iteration; whoever leaves it cancels it first, else leaving would wait for a pending step. */
export function cancelledWhenLeft<T>(steps: AsyncGenerator<T>, cancel: () => void): AsyncGenerator<T> {
  const leave = steps.return.bind(steps);
  steps.return = (value) => {
    cancel();
    return leave(value);
  };
  return steps;
}
