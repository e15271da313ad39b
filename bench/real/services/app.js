// A server that starts a program for each request, however many there are: /JOB?id=ID.
const http = require("node:http");
const { spawn } = require("node:child_process");

const jobs = JSON.parse(process.env.REAL_JOBS);

http.createServer((request, response) => {
  const url = new URL(request.url, "http://server");
  const job = url.pathname.slice(1);
  if (job === "healthz") return response.end("ok\n");
  if (!jobs[job]) {
    response.statusCode = 404;
    return response.end();
  }
  const child = spawn(jobs[job][0], jobs[job].slice(1), { stdio: ["ignore", "pipe", "ignore"] });
  const answer = [];
  child.stdout.on("data", (bytes) => answer.push(bytes));
  child.on("error", () => response.writeHead(500).end());
  child.on("close", (code) => {
    if (response.writableEnded) return;
    response.writeHead(code === 0 ? 200 : 500, { "X-Server": process.env.REAL_NAME, "X-Id": url.searchParams.get("id") ?? "" });
    response.end(Buffer.concat(answer));
  });
}).listen(Number(process.env.REAL_PORT), "127.0.0.1");
