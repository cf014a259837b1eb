// The talker's backends, in the order that `auto` tries them where nothing was measured.

import type { Backend, Talker } from "../stage.ts";
import { talkerLlama } from "./llama.ts";
import { talkerOrt } from "./ort.ts";

export const TALKERS: readonly Backend<Talker>[] = [talkerLlama, talkerOrt];
