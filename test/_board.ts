// The kernel's files of a board, for a folder that stands for / in tests.

import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { scratchFolder } from "./_support.ts";

/** A root folder with these files in it. */
export function rootWith(files: Record<string, string>): string {
  const root = mkdtempSync(join(scratchFolder(), "root-"));
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  return root;
}

export const MEMINFO =
  "MemTotal:        7999996 kB\nMemFree:         100000 kB\nMemAvailable:    6000000 kB\nSwapTotal:       2000000 kB\nSwapFree:        1500000 kB\n";
export const [LITTLE, BIG] = [
  [0, 1, 2, 3],
  [4, 5, 6, 7],
];

/** As an RK3588 board has them: four Cortex-A55, then two pairs of Cortex-A76. */
export function rk3588(allowed = "0-7"): Record<string, string> {
  const features =
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp";
  const processor = (id: number) =>
    `processor\t: ${id}\nBogoMIPS\t: 48.00\nFeatures\t: ${features}\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x2\nCPU part\t: ${BIG.includes(id) ? "0xd0b" : "0xd05"}\nCPU revision\t: 0\n`;
  const cache = (cpu: string, index: number, level: number, type: string, size: string, shared: string) =>
    Object.entries({ level: String(level), type, size, shared_cpu_list: shared }).map(
      ([key, value]): [string, string] => {
        return [`${cpu}/cache/index${index}/${key}`, `${value}\n`];
      },
    );
  const cores = [...LITTLE, ...BIG].flatMap((id): [string, string][] => {
    const cpu = `sys/devices/system/cpu/cpu${id}`;
    const big = BIG.includes(id);
    const [first, second] = big ? ["64K", "512K"] : ["32K", "128K"];
    return [
      [`${cpu}/cpu_capacity`, big ? "1024\n" : "530\n"],
      [`${cpu}/cpufreq/cpuinfo_max_freq`, big ? "2256000\n" : "1800000\n"],
      [`${cpu}/cpufreq/scaling_governor`, "ondemand\n"],
      ...cache(cpu, 0, 1, "Data", first, `${id}`),
      ...cache(cpu, 1, 1, "Instruction", first, `${id}`),
      ...cache(cpu, 2, 2, "Unified", second, `${id}`),
      ...cache(cpu, 3, 3, "Unified", "3072K", "0-7"),
    ];
  });
  return {
    "proc/cpuinfo": `${[...LITTLE, ...BIG].map(processor).join("\n")}\nSerial\t\t: 0000000000000000\n`,
    "proc/self/status": `Name:\tbun\nCpus_allowed:\tff\nCpus_allowed_list:\t${allowed}\n`,
    "proc/self/cgroup": "0::/user.slice\n",
    "proc/meminfo": MEMINFO,
    "proc/device-tree/model": "FriendlyElec CM3588 NAS\0",
    "proc/device-tree/compatible": "friendlyelec,cm3588-nas\0friendlyelec,cm3588\0rockchip,rk3588\0",
    "sys/devices/system/cpu/present": "0-7\n",
    ...Object.fromEntries(cores),
  };
}
