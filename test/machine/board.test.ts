// What a machine is made of, read from copies of the kernel's files: a board with unequal cores, containers,
// and this machine itself.

import { describe, expect, test } from "bun:test";
import { availableParallelism } from "node:os";
import { describeBoard, instructionsOf } from "../../src/machine/board.ts";
import { availableBytes, describeMachine } from "../../src/machine/load.ts";
import { BIG, LITTLE, MEMINFO, rk3588, rootWith } from "../_board.ts";

describe("a board with unequal cores", () => {
  test("has two kinds, the fast one first, each with its clock, caches and instructions", () => {
    const { chip, kinds, model, presentCores } = describeBoard(rootWith(rk3588()));
    expect({ model, chip, presentCores }).toEqual({
      model: "FriendlyElec CM3588 NAS",
      chip: "rk3588",
      presentCores: 8,
    });
    const common = { governor: "ondemand", features: ["asimdhp", "asimddp"] };
    const caches = (first: number, second: number) => [
      { level: 1, type: "data" as const, bytes: first * 1024, sharedBy: 1 },
      { level: 1, type: "instruction" as const, bytes: first * 1024, sharedBy: 1 },
      { level: 2, type: "unified" as const, bytes: second * 1024, sharedBy: 1 },
      { level: 3, type: "unified" as const, bytes: 3072 * 1024, sharedBy: 8 },
    ];
    expect(kinds).toEqual([
      {
        name: "Cortex-A76",
        cores: BIG,
        capacity: 1024,
        fast: true,
        maxMhz: 2256,
        caches: caches(64, 512),
        ...common,
      },
      {
        name: "Cortex-A55",
        cores: LITTLE,
        capacity: 530,
        fast: false,
        maxMhz: 1800,
        caches: caches(32, 128),
        ...common,
      },
    ]);
  });

  test("shows only the cores that a process may use", () => {
    const { kinds, presentCores } = describeBoard(rootWith(rk3588("2-4")));
    expect(kinds.map(({ cores, name }) => [name, cores])).toEqual([
      ["Cortex-A76", [4]],
      ["Cortex-A55", [2, 3]],
    ]);
    expect(presentCores).toBe(8);
  });

  test("shows the numbers of a core that the table does not name", () => {
    const files = rk3588();
    files["proc/cpuinfo"] = files["proc/cpuinfo"].replaceAll("0xd0b", "0xfff");
    expect(describeBoard(rootWith(files)).kinds[0].name).toBe("Arm core 0x41:0xfff");
  });
});

describe("memory and limits", () => {
  const GB = 2 ** 30;
  const board = (files: Record<string, string>) =>
    describeBoard(rootWith({ "proc/meminfo": MEMINFO, ...files }));

  test("without a container", () => {
    const { cpuLimit, memory } = board({ "proc/self/cgroup": "0::/\n" });
    expect(cpuLimit).toBeNull();
    expect(memory).toEqual({
      totalBytes: 7999996 * 1024,
      availableBytes: 6000000 * 1024,
      limitBytes: null,
      swapBytes: 2000000 * 1024,
      swapFreeBytes: 1500000 * 1024,
    });
  });

  test("version 2: the tightest limit on the way up counts; files that can be dropped are free", () => {
    const { cpuLimit, memory } = board({
      "proc/self/cgroup": "0::/pod/one\n",
      "sys/fs/cgroup/pod/one/memory.max": "max\n",
      "sys/fs/cgroup/pod/one/cpu.max": "max 100000\n",
      "sys/fs/cgroup/pod/memory.max": `${2 * GB}\n`,
      "sys/fs/cgroup/pod/memory.current": `${1.5 * GB}\n`,
      "sys/fs/cgroup/pod/memory.stat": `anon 1\ninactive_file ${GB}\n`,
      "sys/fs/cgroup/pod/cpu.max": "150000 100000\n",
    });
    expect(cpuLimit).toBe(1.5);
    expect([memory.limitBytes, memory.availableBytes]).toEqual([2 * GB, 1.5 * GB]);
  });

  test("version 1: a limit beyond the machine's memory is none", () => {
    const files = {
      "proc/self/cgroup": "9:name=systemd:/\n4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n",
      "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
      "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "50000\n",
      "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
    };
    expect(board(files)).toMatchObject({ cpuLimit: 0.5, memory: { limitBytes: null } });
    const limited = {
      ...files,
      "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": `${GB}\n`,
      "sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes": `${0.75 * GB}\n`,
      "sys/fs/cgroup/memory/docker/abc/memory.stat": `total_inactive_file ${0.25 * GB}\n`,
    };
    expect(board(limited).memory).toMatchObject({ limitBytes: GB, availableBytes: 0.5 * GB });
  });
});

test("a root without files gives empty facts", () => {
  const { chip, cpuLimit, model } = describeBoard(rootWith({}));
  expect({ chip, cpuLimit, model }).toEqual({ chip: "", cpuLimit: null, model: "" });
});

test("this machine has as many cores as the process may use, and memory", () => {
  const { kinds, memory, presentCores } = describeBoard();
  const allowed = kinds.flatMap(({ cores }) => cores).length;
  expect(allowed).toBe(availableParallelism());
  expect(presentCores).toBeGreaterThanOrEqual(allowed);
  expect(memory.availableBytes).toBeGreaterThan(0);
  expect(memory.availableBytes).toBeLessThanOrEqual(memory.totalBytes);
  expect(availableBytes()).toBeGreaterThan(0);
  expect(describeMachine().features).toEqual([...new Set(kinds.flatMap(({ features }) => features))]);
});

test("instructions that matter, in the order of the kernel", () => {
  expect(instructionsOf("fpu sse2 avx2 avx512_vnni rdtscp")).toEqual(["avx2", "avx512_vnni"]);
});
