// Which text token each frame says, from the scores of the talker's alignment head: the likeliest path so
// far through the tokens, frame by frame. Pure. Nothing is allocated per frame.

/** Speech goes on by a few tokens a frame at most; costs of such moves, in nats, by the number of tokens. */
const STEP_COSTS = [0, 0, 0.5, 1.5, 3];
/** Of a leap to any other token: many frames must agree on it. */
const LEAP_COST = 12;

export class Alignment {
  /** ln of the likelihood of the best path that ends in each token. */
  private paths: Float64Array;
  private next: Float64Array;
  private readonly scores: Float32Array;
  private known = 0;

  /** @param most tokens of a sentence; those beyond are never said */
  constructor(most: number) {
    [this.paths, this.next] = [new Float64Array(most), new Float64Array(most)];
    this.scores = new Float32Array(most);
  }

  /** Begins a sentence. */
  reset(): void {
    this.known = 0;
  }

  /**
   * Takes in a frame.
   * @param count tokens that the talker knows by now: it never becomes less, and is below 0 while words of a
   * recording are still to come before them
   * @param fill writes the head's scores of so many tokens
   * @returns the token being said, or -1 before the first one is known
   */
  take(count: number, fill: (count: number, target: Float32Array) => void): number {
    const { scores } = this;
    const tokens = Math.min(count, scores.length);
    if (tokens <= 0) return -1;
    fill(tokens, scores);
    const total = logSum(scores, tokens);
    let leap = -Infinity;
    for (let i = 0; i < this.known; i++) leap = Math.max(leap, this.paths[i]);
    let [best, likeliest] = [-Infinity, 0];
    for (let token = 0; token < tokens; token++) {
      let from = this.known === 0 ? -0.5 * token : leap - LEAP_COST;
      for (let back = 0; back < STEP_COSTS.length && back <= token; back++)
        if (token - back < this.known) from = Math.max(from, this.paths[token - back] - STEP_COSTS[back]);
      const value = from + scores[token] - total;
      this.next[token] = value;
      if (value > best) [best, likeliest] = [value, token];
    }
    for (let token = 0; token < tokens; token++) this.next[token] -= best; // else they would sink for ever
    [this.paths, this.next] = [this.next, this.paths];
    this.known = tokens;
    return likeliest;
  }
}

function logSum(values: Float32Array, count: number): number {
  let most = -Infinity;
  for (let i = 0; i < count; i++) most = Math.max(most, values[i]);
  let sum = 0;
  for (let i = 0; i < count; i++) sum += Math.exp(values[i] - most);
  return most + Math.log(sum);
}
