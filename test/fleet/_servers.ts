// Real servers for tests: Debian's nats-server and mosquitto, each on a free port with its own folder. Where
// they are not installed, the tests say so.

import { describe } from "bun:test";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { patient, scratchFolder } from "../_support.ts";

/** Debian puts servers where only root looks. */
const FOLDERS = `${process.env.PATH}:/usr/sbin:/sbin`;
const LOOK_MS = 10;

/** A suite that needs these programs; its title says which of them are not here. */
export function describeWith(programs: readonly string[], title: string, tests: () => void): void {
  const missing = programs.filter((program) => Bun.which(program, { PATH: FOLDERS }) === null);
  if (missing.length === 0) describe(title, tests);
  else describe.skip(`${title} (skipped: ${missing.join(" and ")} not installed)`, tests);
}

/** A server that a test may kill and start again on its port. */
export class TestServer {
  private process: ReturnType<typeof Bun.spawn> | null = null;

  private constructor(
    readonly port: number,
    readonly folder: string,
    private readonly command: readonly string[],
  ) {}

  /**
   * @param options of its configuration file, beside the port and the folder
   * @param limits of JetStream, as in that file
   */
  static async nats(options = "", limits = ""): Promise<TestServer> {
    const [port, folder] = [await freePort(), mkdtempSync(join(scratchFolder(), "nats-"))];
    const store = join(folder, "store");
    mkdirSync(store);
    const path = join(folder, "nats.conf");
    writeFileSync(
      path,
      `listen: "127.0.0.1:${port}"\njetstream { store_dir: "${store}", ${limits} }\n${options}\n`,
    );
    return new TestServer(port, folder, ["nats-server", "-c", path]).started();
  }

  /** @param options of its configuration file, beside the listener */
  static async mosquitto(options = "allow_anonymous true"): Promise<TestServer> {
    const [port, folder] = [await freePort(), mkdtempSync(join(scratchFolder(), "mosquitto-"))];
    const path = join(folder, "mosquitto.conf");
    writeFileSync(path, `listener ${port} 127.0.0.1\n${options}\n`);
    return new TestServer(port, folder, ["mosquitto", "-c", path]).started();
  }

  get pid(): number {
    return this.process!.pid;
  }

  async start(): Promise<void> {
    const [program, ...rest] = this.command;
    const path = Bun.which(program, { PATH: FOLDERS })!;
    const output = Bun.file(join(this.folder, "log"));
    // it ends with the tests, also where they are killed
    const command = ["setpriv", "--pdeathsig", "KILL", path, ...rest];
    this.process = Bun.spawn(command, { stdin: "ignore", stdout: output, stderr: output });
    const deadline = performance.now() + patient(10_000);
    while (!(await answers(this.port))) {
      if (this.process.exitCode !== null || performance.now() > deadline)
        throw new Error(`${program} does not start: ${await output.text()}`);
      await Bun.sleep(LOOK_MS);
    }
  }

  private async started(): Promise<this> {
    await this.start();
    return this;
  }

  /** At once, as a power cut does. */
  async kill(): Promise<void> {
    this.process?.kill("SIGKILL");
    await this.process?.exited;
    this.process = null;
  }
}

/** A port of this machine that nobody has now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}
