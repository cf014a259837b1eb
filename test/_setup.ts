// Preloaded by bun test: removes the scratch folder at the end, since exit handlers do not run there.

import { afterAll } from "bun:test";
import { removeScratch } from "./_support.ts";

afterAll(removeScratch);
