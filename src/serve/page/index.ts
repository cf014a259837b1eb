// The page at /: its files, as they are sent. They are part of the program, also of the compiled one.

import icon from "./icon.svg" with { type: "text" };
import style from "./page.css" with { type: "text" };
import page from "./page.html" with { type: "text" }; // its type is that of an import without `with`
import script from "./page.js" with { type: "text" };
import player from "./player.js" with { type: "text" };
import speech from "./speech.js" with { type: "text" };
import transcript from "./transcript.js" with { type: "text" };
import wave from "./wave.js" with { type: "text" };

/** Nothing from elsewhere runs or loads; no other site may show the page in a frame. */
const POLICY = [
  "default-src 'none'",
  ...["script-src", "style-src", "img-src", "connect-src"].map((kind) => `${kind} 'self'`),
  ...["base-uri", "form-action", "frame-ancestors"].map((kind) => `${kind} 'none'`),
].join("; ");

const file = (type: string, text: string) => ({ type, text });
const SCRIPT = "text/javascript; charset=utf-8";

const FILES: Readonly<Record<string, { type: string; text: string }>> = {
  "/": file("text/html; charset=utf-8", page as unknown as string),
  "/page/page.css": file("text/css; charset=utf-8", style),
  "/page/icon.svg": file("image/svg+xml", icon),
  "/page/page.js": file(SCRIPT, script),
  "/page/player.js": file(SCRIPT, player),
  "/page/speech.js": file(SCRIPT, speech),
  "/page/transcript.js": file(SCRIPT, transcript),
  "/page/wave.js": file(SCRIPT, wave),
};

/** @returns null for a path that is none of the page's */
export function pageFile(path: string): Response | null {
  if (!Object.hasOwn(FILES, path)) return null;
  const { text, type } = FILES[path];
  return new Response(text, {
    headers: {
      "content-type": type,
      "content-security-policy": POLICY,
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cache-control": "no-cache",
    },
  });
}
