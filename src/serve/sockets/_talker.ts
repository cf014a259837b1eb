// The talker's side of the wire, little endian: u32 length + JSON -> per frame i32 code 0 + f32 [hidden],
// then it waits for f32 [hidden], the complete next input; i32 -1 at the end, -2 on error. A connection may
// carry one sentence after the other; an error ends it.

import { standalone } from "../../backends/stage.ts";
import { PROMPT_POSITIONS } from "../../config.ts";
import {
  type Losses,
  loadRules,
  lossesInWords,
  type ReadingRules,
  readText,
} from "../../engine/read-text.ts";
import { type PreparedVoice, prepareVoice, type SpeechOptions } from "../../engine/request.ts";
import { TtsError } from "../../errors.ts";
import type { Bundle } from "../../formats/bundle.ts";
import type { Sentence } from "../../stages/sentence.ts";
import { TalkerStage } from "../../stages/talker.ts";
import { createTimelineMemory, Track } from "../../stages/timeline.ts";
import type { Lexicon } from "../../text/lexicon.ts";
import { Lanes } from "./_lanes.ts";
import { isGone, type Peer } from "./_peer.ts";
import { assertFinite, type Signs, type StageService, type StageStart, turn, wordOf } from "./_wire.ts";

/**
 * Most bytes of the JSON: the longest prompt and the longest instruction fit, with every character escaped.
 */
const REQUEST_BYTES = 65_536;
/** Sent in place of a code 0. */
const [END, ERROR] = [wordOf(-1), wordOf(-2)];

/** Field of a request -> its JSON type. Others are refused: a misspelt one would silently do nothing. */
const FIELDS: Record<string, "string" | "number" | "boolean"> = {
  text: "string",
  language: "string",
  speaker: "string",
  instruct: "string",
  maxFrames: "number",
  seed: "number",
  greedy: "boolean",
  rawText: "boolean",
  normalize: "boolean",
};

type Request = SpeechOptions & { text: string };
type Tell = (line: string) => void;

/** A lane's memory, made once. */
interface LaneBuffers {
  /** i32 code 0 and f32 [hidden], as they go out */
  frame: Uint8Array;
  code0: Int32Array;
  hidden: Float32Array;
  /** f32 [hidden], as it comes in */
  feedback: Uint8Array;
  input: Float32Array;
}

export class TalkerService implements StageService {
  readonly opened: StageService["opened"];
  private readonly talker: TalkerStage;
  private readonly lanes: Lanes;
  private readonly buffers: LaneBuffers[];
  /**
   * The lane of a step. Lanes never share a step: with some weight types a row's rounding would depend on the
   * others.
   */
  private readonly stepLane = new Int32Array(1);
  /** Loaded for the first text. */
  private rules: Promise<ReadingRules> | null = null;
  private tidying = false;

  constructor(
    private readonly bundle: Bundle,
    private readonly start: StageStart,
    signs: Signs,
    private readonly lexicon: Lexicon,
  ) {
    const { config, patienceMs } = start;
    const track = new Track(createTimelineMemory().talker);
    const options = { ...standalone(bundle, config, config.lanes), onOpening: signs.opening };
    this.talker = new TalkerStage({ ...options, track, onPiece: signs.alive });
    this.opened = this.talker.opened;
    this.lanes = new Lanes(config.lanes, patienceMs, (peer) => peer.isSilent);
    this.buffers = Array.from({ length: config.lanes }, () => newBuffers(this.talker.width));
  }

  async serve(peer: Peer, tell: Tell): Promise<void> {
    try {
      for (let request = await readRequest(peer); request !== null; request = await readRequest(peer))
        await this.speak(peer, request, tell);
      peer.leave();
    } catch (error) {
      peer.leave(isGone(error) ? undefined : ERROR);
      throw error;
    }
  }

  private async speak(peer: Peer, request: Request, tell: Tell): Promise<void> {
    this.rules ??= loadRules(this.bundle);
    const { losses, message, sentence } = this.prepare(request, await this.rules);
    for (const line of lossesInWords(losses)) tell(line);
    const lane = await this.lanes.take(peer);
    try {
      // without feedback the sentence cannot go on
      if (peer.isSilent) throw new TtsError("CANCELLED", "the client has gone");
      await this.exchange(peer, lane, { ...message, text: sentence, stream: 0 });
      if (this.talker.lacksMemory(lane))
        tell(
          "the sentence was cut off: this server has memory for no more; start it with a larger {maxFrames}",
        );
    } finally {
      this.lanes.release(lane);
      this.tidy();
    }
    await peer.write(END);
  }

  private async exchange(peer: Peer, lane: number, sentence: Sentence): Promise<void> {
    const { code0, feedback, frame, hidden, input } = this.buffers[lane];
    const { stepLane, talker } = this;
    talker.begin(lane, sentence, this.lanes.busy === 1);
    while (talker.stopOf(lane) === null) {
      code0[0] = talker.code0Of(lane);
      hidden.set(talker.hiddenOf(lane));
      await peer.write(frame);
      if (!(await peer.read(feedback, "a feedback"))) throw new TtsError("CANCELLED", "the client has gone");
      assertFinite(input, "the feedback");
      stepLane[0] = lane;
      talker.step(stepLane, 1, input);
      await turn(); // others get their turn, even if this client is far ahead with its feedback
    }
  }

  /** Prepares a text as `tts` does. It must be one prompt: the layout has no place for a second one. */
  private prepare(
    { text, ...options }: Request,
    rules: ReadingRules,
  ): {
    message: PreparedVoice["message"];
    sentence: string;
    losses: Losses;
  } {
    const { config, greedy, seed } = this.start;
    const { message, settings } = prepareVoice(this.bundle, {
      seed,
      ...options,
      ...(greedy ? { greedy } : {}),
      textMode: "whole",
    });
    const { bundle, lexicon } = this;
    const losses = readText({ bundle, settings, lexicon, rules }, text);
    const { pauses, sentences } = losses;
    if (pauses.size > 0)
      throw new TtsError(
        "REQUEST_INVALID",
        "the text has pauses, for which frames have no place",
        "send what stands between them one by one, and put silence of your own there",
      );
    if (sentences.length > 1)
      throw new TtsError(
        "TEXT_TOO_LONG",
        `the text is ${sentences.length} prompts long`,
        "send it sentence by sentence",
      );
    const { maxFrames = 1 } = options;
    const most = config.contextPositions - PROMPT_POSITIONS;
    if (maxFrames <= most) return { message, sentence: sentences[0], losses };
    throw new TtsError(
      "USAGE",
      `maxFrames is ${maxFrames}, this server has memory for ${most}`,
      "start it with a larger {maxFrames}",
    );
  }

  look(): void {
    this.lanes.look();
  }

  /** Prompts go to the disk while nobody speaks, a piece at a time. */
  private tidy(): void {
    if (this.tidying) return;
    this.tidying = true;
    setImmediate(() => {
      this.tidying = false;
      if (this.lanes.busy === 0 && this.talker.tidy()) this.tidy();
    });
  }
}

function newBuffers(hidden: number): LaneBuffers {
  const [outgoing, incoming] = [new SharedArrayBuffer(4 + 4 * hidden), new SharedArrayBuffer(4 * hidden)];
  return {
    frame: new Uint8Array(outgoing),
    code0: new Int32Array(outgoing, 0, 1),
    hidden: new Float32Array(outgoing, 4, hidden),
    feedback: new Uint8Array(incoming),
    input: new Float32Array(incoming),
  };
}

/**
 * @returns null when the client has no more
 * @throws TtsError REQUEST_INVALID, and what reading throws
 */
async function readRequest(peer: Peer): Promise<Request | null> {
  const length = new Uint32Array(1);
  if (!(await peer.read(new Uint8Array(length.buffer), "a length"))) return null;
  if (length[0] > REQUEST_BYTES)
    throw invalid(`the request claims ${length[0]} bytes`, `at most ${REQUEST_BYTES}`);
  const json = new Uint8Array(length[0]);
  if (!(await peer.read(json, "a request"))) throw invalid("the connection ended before the request");
  return parseRequest(json);
}

function parseRequest(json: Uint8Array): Request {
  let request: unknown;
  try {
    request = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(json));
  } catch {
    throw invalid("the request is no JSON in UTF-8");
  }
  if (typeof request !== "object" || request === null || Array.isArray(request))
    throw invalid("the request is no JSON object");
  for (const [name, value] of Object.entries(request)) {
    const type = Object.hasOwn(FIELDS, name) ? FIELDS[name] : null;
    if (type === null)
      throw invalid(
        `the request has a field ${JSON.stringify(name)}`,
        `there are ${Object.keys(FIELDS).join(", ")}`,
      );
    if (typeof value !== type) throw invalid(`${name} is ${JSON.stringify(value)}`, `it is a ${type}`);
  }
  if (!("text" in request)) throw invalid("the request has no text");
  return request as Request;
}

const invalid = (what: string, hint = "") => new TtsError("REQUEST_INVALID", what, hint);
