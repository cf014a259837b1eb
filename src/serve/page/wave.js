// The waveform: one bar for each fiftieth of a second, drawn again while the sound grows or plays.

const BARS_A_SECOND = 50;
/** The width stands for so much sound at least, so that short phrases do not jump. */
const LEAST_SECONDS = 3;

export class Wave {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.clear();
  }

  clear() {
    this.peaks = [];
    this.position = 0;
    this.peak = 0;
    this.count = 0;
    this.draw(0);
  }

  /** @param {Float32Array} samples @param {number} rate */
  push(samples, rate) {
    const perBar = rate / BARS_A_SECOND;
    for (const sample of samples) {
      this.peak = Math.max(this.peak, Math.abs(sample));
      this.count++;
      if (this.count < perBar) continue;
      this.peaks.push(this.peak);
      this.count = 0;
      this.peak = 0;
    }
  }

  /** @param {number} position second of the sound that is heard now. Default: as it was drawn last */
  draw(position = this.position) {
    this.position = position;
    const { canvas, peaks } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    const [heard, ahead] = ["--accent", "--line"].map((name) => style.getPropertyValue(name));
    pen.clearRect(0, 0, width, height);
    const bars = Math.max(peaks.length, LEAST_SECONDS * BARS_A_SECOND);
    const columns = Math.max(1, Math.floor(width / (3 * ratio)));
    for (let column = 0; column < columns; column++) {
      const [from, to] = [column, column + 1].map((edge) => Math.floor((edge * bars) / columns));
      let peak = 0;
      for (let bar = from; bar < Math.max(to, from + 1); bar++) peak = Math.max(peak, peaks[bar] ?? 0);
      const tall = Math.max(ratio, peak * height);
      pen.fillStyle = from / BARS_A_SECOND < position ? heard : ahead;
      pen.fillRect(column * 3 * ratio, (height - tall) / 2, 2 * ratio, tall);
    }
  }
}
