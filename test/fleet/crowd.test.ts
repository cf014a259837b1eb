// Announcements to twenty boards, some of which come twice, while the hub is killed once: none is lost, and
// none is said twice. make fleet-load does it with a thousand.

import { expect, test } from "bun:test";
import { crowdOf } from "./_crowd.ts";
import { describeWith } from "./_servers.ts";

describeWith(["nats-server"], "a crowd", () => {
  test("200 announcements to 20 boards", async () => {
    expect(await crowdOf(20, 200)).toMatchObject({ said: 4_000, different: 4_000 });
  });
});
