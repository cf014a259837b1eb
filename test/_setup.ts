// Preloaded by bun test: keeps prompts out of the user's cache, and removes the scratch folder at the end,
// since exit handlers do not run there.

import { afterAll } from "bun:test";
import { removeScratch } from "./_support.ts";

// No test reads what the user has written for all models.
process.env.TTS_CONFIG = "/nonexistent";

// No test leaves anything in the user's cache, or finds there what another has left.
process.env.TTS_PREFIX_CACHE = "memory";

// When files run side by side, this would run after every file; there `make test` removes what all have left.
if (process.env.TTS_TEST_SCRATCH === undefined) afterAll(removeScratch);
