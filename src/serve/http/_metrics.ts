// GET /metrics: the server's figures in the text form of Prometheus.

import { FIRST_AUDIO_SECONDS } from "../counts.ts";
import type { Service } from "../service.ts";

/** Requests that were answered, by route and status. */
export class RequestCounts {
  private readonly answered = new Map<string, number>();

  add(method: string, route: string, status: number): void {
    const labels = `method="${method}",route="${route}",status="${status}"`;
    this.answered.set(labels, (this.answered.get(labels) ?? 0) + 1);
  }

  get lines(): Line[] {
    return [...this.answered].map(([labels, count]) => [labels, count]);
  }
}

/** Labels and a value. */
type Line = readonly [labels: string, value: number];
type Kind = "counter" | "gauge";

const TYPE = "text/plain; version=0.0.4; charset=utf-8";

export function metrics(service: Service, requests: RequestCounts): Response {
  const { counts, load, places, state } = service;
  const byKey = (label: string, all: ReadonlyMap<string, number>): Line[] =>
    [...all].map(([key, count]) => [`${label}="${key}"`, count]);
  const perStage = Object.entries(counts.stageMs);
  const families = [
    family("http_requests_total", "counter", "Requests that were answered.", requests.lines),
    family("ready", "gauge", "1 while a speech would be begun.", [["", state === "ready" ? 1 : 0]]),
    family("speeches", "gauge", "Speeches under way.", [
      ['state="sounding"', load.sounding],
      ['state="waiting"', load.waiting],
    ]),
    family("places", "gauge", "The most speeches at once.", [["", places]]),
    family(
      "speeches_ended_total",
      "counter",
      "Speeches that sounded, by how they ended.",
      byKey("how", counts.ended),
    ),
    family(
      "speeches_refused_total",
      "counter",
      "Speeches without a sound, by why.",
      byKey("why", counts.refusals),
    ),
    family("frames_total", "counter", "Frames of 80 ms that were spoken.", [["", counts.frames]]),
    family("audio_seconds_total", "counter", "Seconds of sound.", [["", counts.audioSeconds]]),
    family("wall_seconds_total", "counter", "Seconds that the speeches took.", [["", counts.wallSeconds]]),
    family("rtf", "gauge", "Seconds per second of sound, all speeches together.", [
      ["", ratio(counts.wallSeconds, counts.audioSeconds)],
    ]),
    family(
      "stage_seconds_total",
      "counter",
      "Seconds of work of each stage.",
      perStage.map(([stage, ms]) => [`stage="${stage}"`, ms / 1000]),
    ),
    family(
      "ms_per_frame",
      "gauge",
      "Milliseconds of work per frame, all speeches together.",
      perStage.map(([stage, ms]) => [`stage="${stage}"`, ratio(ms, counts.frames)]),
    ),
    firstAudio(service),
    family("prompt_rows_total", "counter", "Positions of prompts.", [["", counts.promptRows]]),
    family("prompt_cache_hits_total", "counter", "Positions of prompts that were known from before.", [
      ["", counts.cachedRows],
    ]),
    family("repairs_total", "counter", "Sentences that went wrong and were cut.", [["", counts.repairs]]),
    family("resident_bytes", "gauge", "Memory of this process.", [["", process.memoryUsage.rss()]]),
    family("uptime_seconds", "gauge", "Since the service began.", [
      ["", (performance.now() - counts.startedMs) / 1000],
    ]),
  ];
  return new Response(families.join(""), { headers: { "content-type": TYPE } });
}

const ratio = (part: number, whole: number) => (whole === 0 ? 0 : part / whole);

function family(name: string, kind: Kind, help: string, lines: readonly Line[]): string {
  const values = lines.map(
    ([labels, value]) => `tts_${name}${labels === "" ? "" : `{${labels}}`} ${value}\n`,
  );
  return `# HELP tts_${name} ${help}\n# TYPE tts_${name} ${kind}\n${values.join("")}`;
}

function firstAudio({ counts }: Service): string {
  const name = "tts_first_audio_seconds";
  let sum = 0;
  const buckets = counts.firstAudio.map((count, i) => {
    sum += count;
    return `${name}_bucket{le="${FIRST_AUDIO_SECONDS[i] ?? "+Inf"}"} ${sum}\n`;
  });
  const head = `# HELP ${name} Seconds until the first sound.\n# TYPE ${name} histogram\n`;
  return `${head}${buckets.join("")}${name}_sum ${counts.firstAudioSeconds}\n${name}_count ${sum}\n`;
}
