#!/usr/bin/env python3
"""Prints network.yaml's graph without a network: what an encoder leaves to the next is a file, so each step
is a task of its own. Arguments are chunks, seconds of each, crf, rate and buffer."""
import json
import sys

chunks, seconds, crf, rate, buffer = sys.argv[1:] + ["8", "2", "26", "600", "2400"][len(sys.argv) - 1:]
look = ["look-0.log", "look-0.log.mbtree"]
tasks = {"split": {"run": ["./split.sh", seconds], "inputs": ["split.sh", "film.mkv"], "tools": ["ffmpeg", "sh", "mkdir"], "outputs": ["chunks/"]}}


def step(name, args, inputs, outputs, tools):
    tasks[name] = {"run": ["./encoder.sh", *args], "inputs": {"encoder.sh": "encoder.sh", **inputs}, "outputs": outputs, "tools": ["sh", *tools]}


for i in range(int(chunks)):
    chunk = {"in.mkv": f"@split/chunks//{i}.mkv"}
    left = f"@share-{i - 1}/leaves" if i > 0 else {"text": "0\n"}
    step(f"look-{i}", ["look", crf], chunk, ["want", *look], ["ffmpeg", "wc"])
    step(f"share-{i}", ["share", seconds, rate, buffer], {"want": f"@look-{i}/want", "left": left}, ["gets", "leaves"], ["cat"])
    step(f"encode-{i}", ["encode", seconds], chunk | {f: f"@look-{i}/{f}" for f in look} | {"gets": f"@share-{i}/gets"}, ["out.mkv"], ["ffmpeg", "cat"])
parts = {f"parts/{i}": f"@encode-{i}/out.mkv" for i in range(int(chunks))}
tasks["join"] = {"run": ["./join.sh", chunks], "inputs": {"join.sh": "join.sh", **parts}, "outputs": ["film.mp4"], "tools": ["ffmpeg", "sh"]}
json.dump({"gaggle": 1, "defaults": {"memory": "1GiB", "timeout": "10m"}, "tasks": tasks, "targets": {"film.mp4": "@join/film.mp4"}}, sys.stdout)
