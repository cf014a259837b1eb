// The page: what is typed becomes a request; what comes back is played, drawn and lit.

import { Player } from "./player.js";
import { ask, RATE, Refused, speak, wavOf } from "./speech.js";
import { Transcript } from "./transcript.js";
import { Wave } from "./wave.js";

const $ = (id) => document.getElementById(id);
const MOST_RECENT = 12;
const HEALTH_EVERY_MS = 10_000;
const AWAY = "the server cannot be reached";
const [TOKEN_KEY, RECENT_KEY] = ["tts.token", "tts.recent"];

const wave = new Wave($("wave"));
const transcript = new Transcript($("transcript"));
/** The speech under way: its player, and what ends it. */
let current = null;
/** The sound that may be saved. */
let download = null;
let token = sessionStorage.getItem(TOKEN_KEY) ?? "";

function tell(message) {
  $("message").hidden = message === "";
  $("message").textContent = message;
  if (message !== "") reveal($("message"));
}

/** On a phone what has changed may lie below what is seen. */
function reveal(element) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  element.scrollIntoView({ block: "nearest", behavior: still ? "auto" : "smooth" });
}

function fail(error) {
  if (error instanceof Refused && error.status === 401) {
    $("form").hidden = true;
    $("token-section").hidden = false;
    $("token").focus();
    tell(token === "" ? "" : "that is not the token of this server");
  } else if (error instanceof Refused) tell(error.message);
  else {
    tell(AWAY);
    void lookAtServer();
  }
}

function fill(select, choices, wanted) {
  select.replaceChildren(...choices.map(({ label, value }) => new Option(label, value)));
  if (choices.some(({ value }) => value === wanted)) select.value = wanted;
}

const titled = (name) => name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");

async function loadChoices() {
  const [models, voices] = await Promise.all(
    ["/v1/models", "/v1/audio/voices"].map(async (path) => (await ask(path, token)).json()),
  );
  const [model] = models.data;
  fill(
    $("model"),
    models.data.map(({ id }) => ({ label: id, value: id })),
    $("model").value,
  );
  fill(
    $("voice"),
    voices.data.map(({ id, name }) => ({ label: titled(name), value: id })),
    $("voice").value,
  );
  const languages = ["auto", ...model.languages].map((name) => ({ label: titled(name), value: name }));
  fill($("language"), model.languages.length === 1 ? languages.slice(1) : languages, $("language").value);
  $("language-field").hidden = model.languages.length < 2;
  $("style-field").hidden = !model.takes_instructions;
  $("token-section").hidden = true;
  $("form").hidden = false;
}

async function lookAtServer() {
  const answer = await fetch("/health").catch(() => null);
  const health = await answer?.json().catch(() => null);
  $("light").className = answer === null ? "away" : answer.ok ? "ready" : "";
  $("state").textContent = answer === null ? "not reached" : (health?.status ?? "opening");
  if (answer?.ok && $("message").textContent === AWAY) tell("");
  if (answer?.ok && $("voice").options.length === 0 && $("token-section").hidden)
    await loadChoices().catch(fail);
}

function requestOf() {
  const seed = $("seed").value;
  const style = $("style").value.trim();
  return {
    model: $("model").value,
    voice: $("voice").value,
    input: $("text").value,
    speed: Number($("speed").value),
    ...($("language").value === "" ? {} : { language: $("language").value }),
    ...($("style-field").hidden || style === "" ? {} : { instructions: style }),
    ...(seed === "" ? {} : { seed: Number(seed) }),
  };
}

async function begin() {
  await end();
  tell("");
  const request = requestOf();
  const player = new Player(RATE);
  const waking = player.wake();
  const abort = new AbortController();
  const mine = { player, abort, pieces: [], startMs: performance.now(), firstMs: 0, done: false };
  current = mine;
  show(request, mine);
  try {
    await waking;
    const { ignored, unread } = await speak(request, {
      token,
      signal: abort.signal,
      onSeed: (seed) => {
        $("used-seed").textContent = seed;
      },
      onWords: (words) => transcript.push(words),
      onSound: (samples) => {
        if (mine.firstMs === 0) remember(request);
        take(mine, samples);
      },
    });
    mine.done = true;
    offer(mine, request);
    tell(leftOut(unread, ignored));
  } catch (error) {
    mine.done = true;
    offer(mine, request, "-cut");
    if (!abort.signal.aborted) fail(error);
    if (mine.pieces.length === 0 && current === mine) await end();
  }
}

function leftOut(unread, ignored) {
  const parts = [
    unread.length === 0 ? [] : `left out, because the voice cannot read it: ${unread.join(" ")}`,
    ignored.length === 0 ? [] : `not obeyed: ${ignored.join(" ")}`,
  ];
  return parts.flat().join("; ");
}

function show({ input, language }, mine) {
  wave.clear();
  transcript.begin(input);
  $("transcript").lang = language ?? "";
  for (const id of ["first-audio", "rtf", "length", "used-seed"]) $(id).textContent = "–";
  $("stop").disabled = false;
  $("live").textContent = "speaking";
  reveal($("sound"));
  requestAnimationFrame(() => turn(mine));
}

function take(mine, samples) {
  if (mine.firstMs === 0) {
    mine.firstMs = performance.now() - mine.startMs;
    $("first-audio").textContent = `${mine.firstMs.toFixed(0)} ms`;
  }
  mine.pieces.push(samples);
  mine.player.push(samples);
  wave.push(samples, RATE);
  const { seconds } = mine.player;
  $("length").textContent = `${seconds.toFixed(2)} s`;
  $("rtf").textContent = ((performance.now() - mine.startMs) / 1000 / seconds).toFixed(3);
}

/** One picture of the sound under way. */
function turn(mine) {
  if (current !== mine) return;
  const { position } = mine.player;
  wave.draw(position);
  transcript.light(position);
  if (mine.done && mine.player.isOver) void end();
  else requestAnimationFrame(() => turn(mine));
}

async function end() {
  const ended = current;
  if (ended === null) return;
  current = null;
  if (!ended.done) ended.abort.abort();
  transcript.light(-1);
  $("stop").disabled = true;
  $("live").textContent = "ended";
  await ended.player.stop();
}

/** @param {string} suffix "-cut" for sound that was not made to its end */
function offer({ pieces }, { input }, suffix = "") {
  if (pieces.length === 0) return;
  const words = input.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? ["speech"];
  download = { pieces, name: `${words.slice(0, 6).join("-").slice(0, 60)}${suffix}.wav` };
  $("download").disabled = false;
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(wavOf(download.pieces));
  link.download = download.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser has begun by then
}

function recent() {
  try {
    return JSON.parse(localStorage.getItem(RECENT_KEY) ?? "[]");
  } catch {
    return [];
  }
}

function remember({ input, language, voice }) {
  const others = recent().filter((phrase) => phrase.input !== input);
  keep([{ input, language, voice }, ...others].slice(0, MOST_RECENT));
}

function keep(phrases) {
  try {
    localStorage.setItem(RECENT_KEY, JSON.stringify(phrases));
  } catch {
    // a browser that keeps nothing still speaks
  }
  listRecent(phrases);
}

function listRecent(phrases = recent()) {
  const items = phrases.map((phrase) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = phrase.input;
    button.addEventListener("click", () => say(phrase));
    const item = document.createElement("li");
    item.append(button);
    return item;
  });
  $("recent").replaceChildren(...items);
  $("no-recent").hidden = items.length > 0;
  $("clear").hidden = items.length === 0;
}

function say({ input, language, voice }) {
  $("text").value = input;
  for (const [id, value] of [
    ["voice", voice],
    ["language", language],
  ])
    if ([...$(id).options].some((option) => option.value === value)) $(id).value = value;
  void begin();
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  void begin();
});
$("stop").addEventListener("click", () => void end());
$("download").addEventListener("click", save);
$("clear").addEventListener("click", () => {
  keep([]);
  $("text").focus();
});
$("speed").addEventListener("input", () => {
  $("speed-value").textContent = Number($("speed").value).toFixed(2);
});
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value;
  sessionStorage.setItem(TOKEN_KEY, token);
  tell("");
  loadChoices().then(() => $("text").focus(), fail);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("form").requestSubmit();
  if (event.key === "Escape") void end();
});
window.addEventListener("resize", () => wave.draw());

listRecent();
await lookAtServer();
setInterval(lookAtServer, HEALTH_EVERY_MS);
