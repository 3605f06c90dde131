#!/usr/bin/env python3
"""Prints the graph that words.go prints, with nothing but the standard library."""
import json
import sys

files = sys.argv[1:]
tasks = {f"count-{i}": {"run": ["wc", "-w"], "stdin": file, "outputs": ["stdout"]} for i, file in enumerate(files)}
tasks["sum"] = {
    "inputs": {f"counts/{i}": f"@count-{i}/stdout" for i in range(len(files))},
    "shell": "cat counts/* | awk '{n += $1} END {print n}'", "outputs": ["stdout"],
}
json.dump({"gaggle": 1, "defaults": {"tools": ["cat", "awk"]}, "tasks": tasks,
           "targets": {"words.txt": "@sum/stdout"}}, sys.stdout)
