// The text with its words lit as they are said.

/** Pauses and elements, which are obeyed and not said. */
const MARKUP = /\[pause[^\]]*\] ?|<\/?[a-z][^<>]*>/gi;

export class Transcript {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    this.begin("");
  }

  /** @param {string} typed */
  begin(typed) {
    const text = typed.replace(MARKUP, "");
    this.rest = text;
    this.words = [];
    this.ahead = document.createElement("span");
    this.ahead.className = "ahead";
    this.ahead.textContent = text;
    this.element.replaceChildren(this.ahead);
  }

  /**
   * @param {{ index: number, text: string, start: number, end: number }[]} words in the order of the sound; one
   *   may come again, with the same index, when its times have changed
   */
  push(words) {
    for (const { end, index, start, text } of words)
      this.words[index] = { start, end, span: this.words[index]?.span ?? this.place(text) };
  }

  /** Gives the next occurrence of a word an element of its own; a word that was not typed so gets none. */
  place(text) {
    const at = this.rest.indexOf(text);
    const span = document.createElement("span");
    if (at < 0) return span;
    span.textContent = text;
    this.ahead.before(this.rest.slice(0, at), span);
    this.rest = this.rest.slice(at + text.length);
    this.ahead.textContent = this.rest;
    return span;
  }

  /** @param {number} position second of the sound that is heard now; -1: nothing is */
  light(position) {
    for (const { end, span, start } of this.words) {
      const isLit = start <= position && position < end;
      if (isLit && !span.classList.contains("lit")) this.show(span);
      span.classList.toggle("lit", isLit);
    }
  }

  /** A long text scrolls in its own box, so that the page stays where it is. */
  show({ offsetHeight, offsetTop }) {
    const { element } = this;
    const [top, bottom] = [element.scrollTop, element.scrollTop + element.clientHeight];
    if (offsetTop < top || offsetTop + offsetHeight > bottom)
      element.scrollTop = offsetTop - element.clientHeight / 3;
  }
}
