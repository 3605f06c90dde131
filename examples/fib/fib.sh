#!/bin/sh
# fib.sh N leaves the Nth Fibonacci number in the file value, or in next.json the graph that adds
# the two before it. Whoever else needs one of those finds it done: equal tasks run once.
set -eu
n=$1
if [ "$n" -lt 2 ]; then
	echo "$n" > value
	exit
fi
cat > next.json <<END
{"gaggle": 1,
 "tasks": {
  "a": {"inputs": ["@parent/fib.sh"], "run": ["./fib.sh", "$((n - 1))"],
        "outputs": [{"path": "value", "graph": "next.json"}]},
  "b": {"inputs": ["@parent/fib.sh"], "run": ["./fib.sh", "$((n - 2))"],
        "outputs": [{"path": "value", "graph": "next.json"}]},
  "sum": {"inputs": {"a": "@a/value", "b": "@b/value"},
          "shell": "echo \$((\$(cat a) + \$(cat b))) > value", "outputs": ["value"]}},
 "targets": {"value": "@sum/value"}}
END
