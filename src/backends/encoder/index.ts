// The encoder's backends.

import type { Backend, Encoder } from "../stage.ts";
import { encoderOrt } from "./ort.ts";

export const ENCODERS: readonly Backend<Encoder>[] = [encoderOrt];
