// The text with its words lit as they are said.

export class Transcript {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    this.begin("");
  }

  /** @param {string} text as it was typed */
  begin(text) {
    this.rest = text;
    this.words = [];
    this.ahead = document.createElement("span");
    this.ahead.className = "ahead";
    this.ahead.textContent = text;
    this.element.replaceChildren(this.ahead);
  }

  /**
   * @param {{ index: number, text: string, start: number, end: number }[]} words further ones, in the order of
   * the sound, and known ones whose times have changed
   */
  push(words) {
    for (const { end, index, start, text } of words) {
      const known = this.words.find((word) => word.index === index);
      if (known !== undefined) {
        Object.assign(known, { start, end });
        continue;
      }
      const at = this.rest.indexOf(text);
      if (at < 0) continue; // it is read in other words than it was typed
      const span = document.createElement("span");
      span.textContent = text;
      this.ahead.before(this.rest.slice(0, at), span);
      this.rest = this.rest.slice(at + text.length);
      this.ahead.textContent = this.rest;
      this.words.push({ index, start, end, span });
    }
  }

  /** @param {number} position second of the sound that is heard now; -1: nothing is */
  light(position) {
    for (const { end, span, start } of this.words)
      span.classList.toggle("lit", start <= position && position < end);
  }
}
