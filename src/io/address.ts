// Addresses on the network, as servers are told them and as people read them.

/** Host and port, as they stand in an URL. @param host a name or an address; of IPv6 also in brackets */
export function authority(host: string, port: number): string {
  const bare = host.replace(/^\[(.*)\]$/, "$1");
  return `${bare.includes(":") ? `[${bare}]` : bare}:${port}`;
}

/**
 * Whether this machine alone reaches it; "": no network at all. Names are not looked up: only localhost is
 * always this machine.
 */
export const isLoopback = (host: string): boolean =>
  /^(|localhost|127(\.\d{1,3}){3}|\[?::1\]?|::ffff:127(\.\d{1,3}){3})$/i.test(host);
