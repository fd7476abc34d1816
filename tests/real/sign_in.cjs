// Sends what a program asks of https:// addresses to SIGN_IN_URL on loopback, in place of the network.
const http = require("node:http");
const https = require("node:https");
const { urlToHttpOptions } = require("node:url");

const there = new URL(process.env.SIGN_IN_URL);
const moved = { protocol: "http:", host: there.hostname, hostname: there.hostname, port: there.port, agent: undefined };

https.request = (...given) => {
  const address = typeof given[0] === "string" || given[0] instanceof URL ? urlToHttpOptions(new URL(given.shift())) : {};
  const answered = typeof given.at(-1) === "function" ? given.pop() : undefined;
  return http.request({ ...address, ...given[0], ...moved }, answered);
};

const fetched = globalThis.fetch;
globalThis.fetch = (input, options) => {
  const address = new URL(String(input?.url ?? input));
  if (address.protocol !== "https:") return fetched(input, options);
  return fetched(new URL(address.pathname + address.search, there), options);
};
