// Times of day, quiet hours and lengths of time: every edge, midnight and both changes of the clock.

import { afterEach, describe, expect, test } from "bun:test";
import { appointment, isQuiet, parseDuration, parseQuietHours } from "../../src/announce/times.ts";

const usualZone = process.env.TZ;
afterEach(() => {
  if (usualZone === undefined) delete process.env.TZ;
  else process.env.TZ = usualZone;
});

/** A moment of Berlin, whose clocks go forward on 29 March 2026 and back on 25 October 2026. */
function berlin(text: string): Date {
  process.env.TZ = "Europe/Berlin";
  return new Date(text);
}
const FIVE_MINUTES = 300_000;
const by = (time: string, now: Date, mostLateMs = FIVE_MINUTES) => {
  const found = appointment("--by", time, now, mostLateMs);
  return [found.kind, found.moment.toISOString()];
};

describe("a time of day", () => {
  test("is the next one, also after midnight", () => {
    expect(by("07:00", berlin("2026-06-01T06:58:00"))).toEqual(["wait", "2026-06-01T05:00:00.000Z"]);
    expect(by("7:00:30", berlin("2026-06-01T06:58:00"))).toEqual(["wait", "2026-06-01T05:00:30.000Z"]);
    expect(by("00:00", berlin("2026-05-31T23:59:59"))).toEqual(["wait", "2026-05-31T22:00:00.000Z"]);
    expect(by("00:05", berlin("2026-12-31T23:58:00"))).toEqual(["wait", "2026-12-31T23:05:00.000Z"]);
    expect(by("07:00", berlin("2026-06-01T07:00:00"))).toEqual(["wait", "2026-06-01T05:00:00.000Z"]);
  });

  test("that has just passed is now, also over midnight; later it is dropped", () => {
    expect(by("07:00", berlin("2026-06-01T07:00:01"))[0]).toBe("now");
    expect(by("07:00", berlin("2026-06-01T07:04:59.999"))[0]).toBe("now");
    expect(by("07:00", berlin("2026-06-01T07:05:00"))[0]).toBe("dropped");
    expect(by("07:00", berlin("2026-06-01T13:00:00"))[0]).toBe("dropped");
    expect(by("23:59", berlin("2026-06-02T00:01:00"))).toEqual(["now", "2026-06-01T21:59:00.000Z"]);
    expect(by("07:00", berlin("2026-06-01T07:00:01"), 0)[0]).toBe("dropped");
  });

  test("is at most twelve hours ahead", () => {
    expect(by("19:00", berlin("2026-06-01T07:00:00"))[0]).toBe("wait");
    expect(() => by("19:00:01", berlin("2026-06-01T07:00:00"))).toThrow("--by 19:00:01 is 12.0 hours ahead");
    expect(() => by("20:00", berlin("2026-06-01T07:00:00"))).toThrow("13.0 hours ahead");
  });

  test("that the change to summer time skips comes as long after midnight as else", () => {
    expect(by("02:30", berlin("2026-03-29T01:00:00"))).toEqual(["wait", "2026-03-29T01:30:00.000Z"]);
    expect(by("03:00", berlin("2026-03-29T01:59:00"))).toEqual(["wait", "2026-03-29T01:00:00.000Z"]);
    expect(by("07:00", berlin("2026-03-28T20:00:00"))).toEqual(["wait", "2026-03-29T05:00:00.000Z"]);
  });

  test("that the change to winter time repeats comes twice", () => {
    expect(by("02:30", berlin("2026-10-25T00:30:00Z"))).toEqual(["wait", "2026-10-25T00:30:00.000Z"]);
    expect(by("02:30", berlin("2026-10-25T00:31:00Z"))).toEqual(["now", "2026-10-25T00:30:00.000Z"]);
    expect(by("02:30", berlin("2026-10-25T00:40:00Z"))).toEqual(["wait", "2026-10-25T01:30:00.000Z"]);
    expect(by("07:00", berlin("2026-10-24T20:00:00"))).toEqual(["wait", "2026-10-25T06:00:00.000Z"]);
  });

  test("follows the zone, also where clocks change by half an hour", () => {
    process.env.TZ = "Australia/Lord_Howe"; // back by 30 minutes on 5 April 2026 at 02:00
    expect(by("01:45", new Date("2026-04-04T14:49:59Z"))).toEqual(["now", "2026-04-04T14:45:00.000Z"]);
    expect(by("01:45", new Date("2026-04-04T14:55:00Z"))).toEqual(["wait", "2026-04-04T15:15:00.000Z"]);
  });

  test.each(["", "7", "24:00", "12:60", "12:00:60", "noon", "-1:00", "12.30", "012:00"])(
    "is not %p",
    (text) => {
      expect(() => by(text, new Date())).toThrow(`--by is "${text}"`);
    },
  );
});

describe("quiet hours", () => {
  const quiet = (ranges: string, time: string, day = "2026-06-01") =>
    isQuiet(parseQuietHours("--quiet-hours", ranges), berlin(`${day}T${time}`));

  test("begin with their first second and end before their last", () => {
    expect(quiet("22:00-07:00", "21:59:59.999")).toBe(false);
    expect(quiet("22:00-07:00", "22:00:00")).toBe(true);
    expect(quiet("22:00-07:00", "23:59:59.999")).toBe(true);
    expect(quiet("22:00-07:00", "00:00:00")).toBe(true);
    expect(quiet("22:00-07:00", "06:59:59.999")).toBe(true);
    expect(quiet("22:00-07:00", "07:00:00")).toBe(false);
  });

  test("within a day, up to midnight, and several", () => {
    expect(quiet("13:00-14:00", "12:59:59")).toBe(false);
    expect(quiet("13:00-14:00", "13:30")).toBe(true);
    expect(quiet("13:00-14:00", "14:00")).toBe(false);
    expect(quiet("22:00-24:00", "23:59:59")).toBe(true);
    expect(quiet("22:00-24:00", "00:00")).toBe(false);
    expect(quiet("00:00-24:00", "12:00")).toBe(true);
    expect(quiet("22:00-07:00, 13:00-14:00", "13:00")).toBe(true);
  });

  test("are those of the clock on the wall when it changes", () => {
    expect(quiet("02:00-03:00", "01:59:59", "2026-03-29")).toBe(false);
    expect(quiet("02:00-03:00", "03:00:00", "2026-03-29")).toBe(false); // two o'clock never came
    const ranges = parseQuietHours("--quiet-hours", "02:00-02:45");
    const at = (utc: string) => isQuiet(ranges, berlin(`2026-10-25T${utc}Z`));
    expect(["00:30", "00:50", "01:30", "01:50"].map((utc) => at(`${utc}:00`))).toEqual([
      true,
      false,
      true,
      false,
    ]);
  });

  test.each(["22:00", "22-7", "22:00-22:00", "22:00-25:00", "24:00-07:00", "", "22:00-07:00,", "1-2-3"])(
    "are not %p",
    (text) => {
      expect(() => parseQuietHours("--quiet-hours", text)).toThrow(`--quiet-hours is "${text}"`);
    },
  );
});

test("lengths of time have units, and a limit", () => {
  const ms = (text: string) => parseDuration("--max-wait", text, 3_600_000);
  expect(["90", "90s", "1.5s", "500ms", "5min", "5m", "1h", "0"].map(ms)).toEqual([
    ...[90_000, 90_000, 1_500, 500, 300_000, 300_000, 3_600_000, 0],
  ]);
  for (const text of ["", "-1", "1d", "61min", "1e9", "5 minutes", "NaN"])
    expect(() => ms(text)).toThrow(`--max-wait is "${text}"`);
});
