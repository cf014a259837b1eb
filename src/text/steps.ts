// Long work in steps: a generator that stops wherever something else may have its turn. Pure; who runs it
// decides how much of it is done at once.

export type Steps<T> = Generator<void, T, void>;

/** Items that are worked on in one step. */
const ITEMS = 256;

export function atOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

/** As `Array.from(items, change)`. */
export function* mapped<T, U>(items: Iterable<T>, change: (item: T) => U): Steps<U[]> {
  const changed: U[] = [];
  for (const item of items) {
    changed.push(change(item));
    if (changed.length % ITEMS === 0) yield;
  }
  return changed;
}

/** As `text.replace(pattern, change)`, where the pattern has the flag g. */
export function* replaced(
  text: string,
  pattern: RegExp,
  change: (found: RegExpExecArray) => string,
): Steps<string> {
  let [done, to, count] = ["", 0, 0];
  for (const found of text.matchAll(pattern)) {
    done += text.slice(to, found.index) + change(found);
    to = found.index + found[0].length;
    if (++count % ITEMS === 0) yield;
  }
  return done + text.slice(to);
}
