// One line for the system's log, as logger writes it: a datagram to the socket that syslog and the journal
// listen on.

import { sendDatagram } from "../../ffi/libc.ts";

const SOCKET = "/dev/log";
/** Of the facility for users' programs. */
const PRIORITY = { info: 14, error: 11 } as const;
const LINE_BYTES = 2_000;
const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

/** @returns false where nothing listens, so that the line must go elsewhere */
export function tellSyslog(
  level: keyof typeof PRIORITY,
  line: string,
  now: Date = new Date(),
  socket = SOCKET,
): boolean {
  const two = (number: number) => String(number).padStart(2, "0");
  const clock = [now.getHours(), now.getMinutes(), now.getSeconds()].map(two).join(":");
  const day = String(now.getDate()).padStart(2);
  const head = `<${PRIORITY[level]}>${MONTHS[now.getMonth()]} ${day} ${clock} tts[${process.pid}]: `;
  const text = Buffer.from(head + line.replace(/\s*[\r\n]+\s*/g, " "));
  return sendDatagram(socket, text.subarray(0, LINE_BYTES));
}
