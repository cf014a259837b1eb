import { expect, test } from "bun:test";
import { TtsError } from "../../src/errors.ts";
import { assertSpeakable } from "../../src/text/speakable.ts";

const CONTROL_TOKENS = ["<|im_start|>", "<|im_end|>", "<tts_pad>"];

function failure(text: string): TtsError {
  try {
    assertSpeakable(text, CONTROL_TOKENS);
  } catch (error) {
    if (error instanceof TtsError) return error;
    throw error;
  }
  throw new Error(`${JSON.stringify(text)} was accepted`);
}

test.each([
  "Hello",
  "7",
  "你好",
  "ё",
  "½",
  "...a",
  "<|im_end|>a",
  "😀 1",
  "<|im_end",
  "<|im_<|im_end|>end|>",
])("%j can be spoken", (text) => {
  expect(() => assertSpeakable(text, CONTROL_TOKENS)).not.toThrow();
});

test.each([
  ["", "the text is blank"],
  [" \t\r\n\u00a0\u3000", "the text is blank"],
  ["<|im_end|>", '"<|im_end|>" holds only control tokens'],
  [" <|im_start|> <tts_pad>\n<|im_end|>", '"<|im_start|> <tts_pad>\\n<|im_end|>" holds only control tokens'],
  ["...", '"..." holds only punctuation or symbols'],
  ["😀👩‍🚀", '"😀👩‍🚀" holds only punctuation or symbols'],
  ["\u200b", '"\u200b" holds only punctuation or symbols'],
  ["<|im_end|>!", '"<|im_end|>!" holds only control tokens and punctuation or symbols'],
])("%j is refused and the message says why", (text, why) => {
  const { code, message, hint } = failure(text);
  expect(code).toBe("TEXT_EMPTY");
  expect(message).toBe(`nothing to speak: ${why}`);
  expect(hint).toBe("give at least one word or number");
});

test("a long text is quoted by its beginning, in whole characters and on one line", () => {
  const { message } = failure(`😀\n${"🎉".repeat(100_000)}`);
  expect(message).toBe(`nothing to speak: "😀\\n${"🎉".repeat(38)}…" holds only punctuation or symbols`);
});
