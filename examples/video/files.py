#!/usr/bin/env python3
"""Prints the graph of network.yaml without a network: what an encoder leaves to the next is a file, so
that each step is a task of its own. Arguments: chunks, seconds of each, crf, rate, buffer."""
import json
import sys

chunks, seconds, crf, rate, buffer = sys.argv[1:] + ["2", "8", "26", "600", "2400"][len(sys.argv) - 1:]
tasks = {}


def task(name, run, inputs, outputs, tools):
    script = run[0].removeprefix("./")
    tasks[name] = {"run": run, "inputs": {script: script, **inputs}, "outputs": outputs, "tools": ["sh", *tools]}


task("split", ["./split.sh", seconds], {"film.mkv": "film.mkv"}, ["chunks/"], ["ffmpeg", "mkdir"])
passed = ["look-0.log", "look-0.log.mbtree"]  # from the first pass to the second
parts = {}
for i in range(int(chunks)):
    chunk = {"in.mkv": f"@split/chunks//{i}.mkv"}
    left = f"@share-{i - 1}/leaves" if i > 0 else {"text": "0\n"}
    task(f"look-{i}", ["./encoder.sh", "look", crf], chunk, ["want", *passed], ["ffmpeg", "wc"])
    task(f"share-{i}", ["./encoder.sh", "share", seconds, rate, buffer],
         {"want": f"@look-{i}/want", "left": left}, ["gets", "leaves"], ["cat"])
    task(f"encode-{i}", ["./encoder.sh", "encode", seconds],
         {**chunk, "gets": f"@share-{i}/gets", **{p: f"@look-{i}/{p}" for p in passed}}, ["out.mkv"], ["cat", "ffmpeg"])
    parts[f"parts/{i}"] = f"@encode-{i}/out.mkv"
task("join", ["./join.sh", chunks], parts, ["film.mp4"], ["ffmpeg"])
json.dump({"gaggle": 1, "defaults": {"memory": "1GiB", "timeout": "10m"}, "tasks": tasks,
           "targets": {"film.mp4": "@join/film.mp4"}}, sys.stdout)
