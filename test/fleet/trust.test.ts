// Who a hub lets in, and what it lets them do: users and passwords, nkeys, TLS, and the permissions of the
// example that ships with the program.

import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { nkeys } from "@nats-io/transport-node";
import { assertTaken } from "../../src/fleet/announcing.ts";
import { connectHub } from "../../src/fleet/hub.ts";
import type { HubSettings } from "../../src/fleet/settings.ts";
import { ROOT, rejectionOf } from "../_support.ts";
import { House, newFolder, until } from "./_house.ts";
import { describeWith } from "./_servers.ts";

const enter = (house: House, settings: Partial<HubSettings> = {}) =>
  connectHub(house.settings(settings), { name: "desk" });
const hallway = (text: string) => ({ rooms: ["hallway"], text });

/** The users of the example, whose password is this. */
function exampleUsers(password: string): string {
  const lines = readFileSync(join(ROOT, "src/packaging/examples/nats-server.conf"), "utf8").split("\n");
  const first = lines.indexOf("#authorization {");
  const users = lines.slice(first, lines.indexOf("#}", first) + 1).map((line) => line.slice(1));
  return users.join("\n").replaceAll(/\w+-PASSWORD/g, password);
}

describeWith(["nats-server"], "users of a hub", () => {
  test("the example lets a board speak, and a sender under its own name alone", async () => {
    await using house = await House.open(exampleUsers("secret"));
    const [board, panel] = ["board", "panel"].map((user) => ({ settings: { user, password: "secret" } }));
    const pi = await house.board("pi", { ...board, limits: { beatMs: 60_000 } });
    const sender = await house.sender("panel", panel);
    const report = await sender.announce(hallway("Let in."));
    assertTaken(report);
    await until(() => house.saidBy(report.id).length === 1, "it is said");

    const other = await house.sender("desk", panel);
    const error = await rejectionOf(other.announce(hallway("Under another name.")));
    expect([error.code, error.exitStatus]).toEqual(["FLEET_REFUSED", 7]);
    expect(error.inOneLine).toBe(
      "the hub does not let this user speak as desk; give the name that it may speak as",
    );
    const asBoard = await house.sender("pi", board);
    expect((await rejectionOf(asBoard.announce(hallway("From a board.")))).code).toBe("FLEET_REFUSED");
    expect(house.said).toHaveLength(1);
    // a sender is no board
    const asPanel = await rejectionOf(house.board("false", panel));
    expect(asPanel.code).toBe("FLEET_REFUSED");
    expect(pi.board.state.lastError).toBe("");
  });

  test("a wrong password, or none, is told in one line that does not show it", async () => {
    await using house = await House.open("authorization { user: me, password: right }");
    await (await enter(house, { user: "me", password: "right" })).close();
    for (const settings of [{ user: "me", password: "wrong-word" }, { user: "you", password: "right" }, {}]) {
      const error = await rejectionOf(enter(house, settings));
      expect([error.code, error.exitStatus]).toEqual(["FLEET_REFUSED", 7]);
      expect(error.inOneLine).toMatch(/^the hub at \S+ does not let us in \(.*\); check \S+ with its user/);
      expect(error.inOneLine).not.toMatch(/wrong-word|right/);
    }
    // a board waits for a hub that is away, not for one that refuses it
    const waits = connectHub(house.settings(), { name: "pi", patient: true });
    expect((await rejectionOf(waits)).code).toBe("FLEET_REFUSED");
  });

  test("the seed of an nkey lets in, another one does not, and what is no seed is told", async () => {
    const [ours, theirs] = [nkeys.createUser(), nkeys.createUser()];
    const fileOf = (text: string | Uint8Array) => {
      const path = join(newFolder(), "seed");
      writeFileSync(path, text);
      return path;
    };
    await using house = await House.open(`authorization { users = [ { nkey: ${ours.getPublicKey()} } ] }`);
    const hub = await enter(house, { credentials: fileOf(`${Buffer.from(ours.getSeed())}\n`) });
    await hub.close();
    const wrong = [fileOf(theirs.getSeed()), fileOf("no seed"), fileOf(""), "/no/such/file"];
    const codes = await Promise.all(
      wrong.map(async (credentials) => (await rejectionOf(enter(house, { credentials }))).code),
    );
    expect(codes.map(String)).toEqual([
      ...["FLEET_REFUSED", "INPUT_UNREADABLE", "INPUT_UNREADABLE", "INPUT_UNREADABLE"],
    ]);
  });
});

/** An authority, and what it has signed. @returns the paths of its files, without their endings */
function certificates(): { authority: string; signed: (name: string) => string } {
  const folder = newFolder();
  const openssl = (args: string) => {
    const { exitCode, stderr } = Bun.spawnSync(["openssl", ...args.split(" ")], { cwd: folder });
    if (exitCode !== 0) throw new Error(stderr.toString());
  };
  const fresh = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
  openssl(`req -x509 ${fresh} -keyout ca.key -out ca.pem -subj /CN=authority -days 2`);
  return {
    authority: join(folder, "ca"),
    signed(name) {
      const request = `${fresh} -keyout ${name}.key -out ${name}.csr -subj /CN=${name}`;
      openssl(`req ${request} -addext subjectAltName=IP:127.0.0.1`);
      const sign = "-CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy";
      openssl(`x509 -req -in ${name}.csr -out ${name}.pem ${sign}`);
      return join(folder, name);
    },
  };
}

describeWith(["nats-server", "openssl"], "a hub with TLS", () => {
  test("its certificate is checked, and it may ask for ours", async () => {
    const { authority, signed } = certificates();
    const [ours, theirs, stranger] = [signed("desk"), signed("hub"), certificates()];
    const files = `cert_file: "${theirs}.pem", key_file: "${theirs}.key"`;
    const ca = `${authority}.pem`;
    await using open = await House.open(`tls { ${files} }`);
    const url = open.settings().url.replace("nats:", "tls:");
    await open.board("pi", { settings: { url, ca } });
    const sender = await open.sender("desk", { settings: { url, ca } });
    assertTaken(await sender.announce(hallway("In secret.")));
    for (const wrong of [{ url }, { url, ca: `${stranger.authority}.pem` }]) {
      const error = await rejectionOf(enter(open, wrong));
      expect(error.inOneLine).toMatch(/^the hub at \S+ has no certificate that we trust \(.+\); give its/);
      expect([error.code, error.exitStatus]).toEqual(["FLEET_REFUSED", 7]);
    }
    await (await enter(open, { ca })).close(); // the hub asks for TLS whatever the address says

    await using strict = await House.open(`tls { ${files}, ca_file: "${ca}", verify: true }`);
    await (await enter(strict, { ca, certificate: `${ours}.pem`, key: `${ours}.key` })).close();
    expect((await rejectionOf(enter(strict, { ca }))).exitStatus).toBe(7);
    for (const file of ["certificate", "key", "ca"] as const) {
      const wrong = await rejectionOf(enter(strict, { ca, [file]: "/no/such/file" }));
      expect([file, wrong.code, wrong.exitStatus]).toEqual([file, "INPUT_UNREADABLE", 2]);
    }
  });

  test("a hub without TLS is not spoken to in the clear where TLS was asked for", async () => {
    await using house = await House.open();
    const url = house.settings().url.replace("nats:", "tls:");
    const error = await rejectionOf(enter(house, { url, user: "me", password: "secret" }));
    expect(error.exitStatus).toBe(7);
    expect(error.inOneLine).not.toContain("secret");
  });
});
