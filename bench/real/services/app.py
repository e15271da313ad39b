"""A WSGI application that runs a program for each request: /JOB?id=ID."""
import json
import os
import subprocess
from urllib.parse import parse_qs

JOBS = json.loads(os.environ["REAL_JOBS"])
NAME = os.environ["REAL_NAME"]


def app(environ, start):
    job = environ["PATH_INFO"].strip("/")
    if job == "healthz":
        start("200 OK", [("Content-Length", "3")])
        return [b"ok\n"]
    if job not in JOBS:
        start("404 Not Found", [("Content-Length", "0")])
        return [b""]
    done = subprocess.run(JOBS[job], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    answer = done.stdout
    status = "200 OK"
    if done.returncode:
        status, answer = "500 Internal Server Error", done.stderr[-500:]
    start(status, [
        ("Content-Length", str(len(answer))),
        ("X-Server", NAME),
        ("X-Id", parse_qs(environ["QUERY_STRING"]).get("id", [""])[0]),
    ])
    return [answer]
