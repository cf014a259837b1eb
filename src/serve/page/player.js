// Plays sound as it arrives: pieces are put one behind the other on the clock of Web Audio. Where the sound
// comes too late, the next piece begins at once, and the clock's places move with it.

/** Time for the browser to start a piece, so that the first one is not cut. */
const LEAD_SECONDS = 0.05;

export class Player {
  /** @param {number} rate samples a second */
  constructor(rate) {
    this.rate = rate;
    this.context = new AudioContext({ sampleRate: rate, latencyHint: "interactive" });
    /** Where the pieces lie: second of the clock, second of the sound, seconds. */
    this.placed = [];
    this.end = 0;
    this.seconds = 0;
    this.sources = new Set();
  }

  /** Browsers let sound begin only after a key or a click; this must run in its handler. */
  wake() {
    return this.context.resume();
  }

  /** @param {Float32Array} samples */
  push(samples) {
    if (samples.length === 0) return;
    const buffer = this.context.createBuffer(1, samples.length, this.rate);
    buffer.copyToChannel(samples, 0);
    const source = this.context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.context.destination);
    const at = Math.max(this.end, this.context.currentTime + (this.placed.length === 0 ? LEAD_SECONDS : 0));
    source.start(at);
    source.onended = () => this.sources.delete(source);
    this.sources.add(source);
    this.placed.push({ at, from: this.seconds, seconds: buffer.duration });
    this.end = at + buffer.duration;
    this.seconds += buffer.duration;
  }

  /** Second of the sound that is heard now. */
  get position() {
    const now = this.context.currentTime - (this.context.outputLatency || 0);
    const piece = this.placed.findLast(({ at }) => at <= now);
    return piece === undefined ? 0 : Math.min(piece.from + now - piece.at, piece.from + piece.seconds);
  }

  /** Whether all that came was heard. */
  get isOver() {
    return this.context.currentTime >= this.end + (this.context.outputLatency || 0);
  }

  stop() {
    for (const source of this.sources) source.stop();
    this.sources.clear();
    return this.context.state === "closed" ? undefined : this.context.close();
  }
}
