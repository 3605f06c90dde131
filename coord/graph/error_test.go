package graph

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"gaggle/wire"
)

// head is a graph file up to its tasks; bad files below are mostly one task and a target.
const head = "gaggle: 1\ntargets: {o: \"@t/o\"}\ntasks:\n"

// Every bad file is refused with where, what and what to do.
func TestBadFiles(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		// The language.
		{"empty", " \n", `graph.yaml: the file is empty: the least is gaggle: 1, tasks and targets`},
		{"not UTF-8", "gaggle: 1\n# \xff\n", `graph.yaml:2: byte 0xff is not UTF-8: save it as UTF-8`},
		{"broken YAML", "a: [\n", `graph.yaml:2: this is not YAML: did not find expected node content`},
		{"an unquoted reference", "a:\n  b: @c/d\n", `graph.yaml:2: this is not YAML: found character that cannot start any token: put references in quotes: "@c/d"`},
		{"tabs", "a:\n\tb: c\n", `graph.yaml:2: this is not YAML: found character that cannot start any token: indent with spaces, not with tabs`},
		{"two documents", "gaggle: 1\n---\ngaggle: 1\n", `graph.yaml:2: there is more than one document: remove the line ---`},
		{"key twice", "gaggle: 1\ngaggle: 1\n", `graph.yaml:2: key "gaggle" is there twice, first in line 1: remove one`},
		{"merge key", "a: &x {b: 1}\nc: {<<: *x}\n", `graph.yaml:2: merge keys (<<) are not part of YAML 1.2: use defaults, or repeat what is common`},
		{"tag", "gaggle: !!binary MQ==\n", `graph.yaml:1: tag "!!binary" is not known: remove the tag`},
		{"alias of itself", "a: &x [*x]\n", `graph.yaml:1: lists and objects are nested more than 32 deep: a graph needs seven`},
		{"a list", "[1]\n", `graph.yaml:1: is a list, want an object with gaggle, $schema, params, defaults, tasks, targets`},

		// Keys and kinds.
		{"no version", "tasks: {t: {run: [a], outputs: [o]}}\ntargets: {o: \"@t/o\"}\n", `graph.yaml:1: "gaggle" is missing: the version of this format: 1`},
		{"version 2", "gaggle: 2\ntasks: {}\ntargets: {}\n", `graph.yaml:1: gaggle: format "2" is not known here: write gaggle: 1, or update gaggle on this machine`},
		{"version is text", "gaggle: one\ntasks: {}\ntargets: {}\n", `graph.yaml:1: gaggle: is a string, want the number 1`},
		{"unknown key", head + "  t:\n    run: [a]\n    outptus: [o]\n    outputs: [o]\n", `graph.yaml:6: tasks.t.outptus: unknown key "outptus": did you mean "outputs"?`},
		{"unknown key at the top", "gaggle: 1\ntask: {}\ntasks: {t: {run: [a], outputs: [o]}}\ntargets: {o: \"@t/o\"}\n", `graph.yaml:2: task: unknown key "task": did you mean "tasks"?`},
		{"unknown source", head + "  t: {for: {x: {golb: \"*\"}}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.for.x.golb: unknown key "golb": did you mean "glob"?`},
		{"nothing like it", head + "  t: {run: [a], outputs: [{path: o, zzzzzzzz: 1}]}\n", `graph.yaml:4: tasks.t.outputs[0].zzzzzzzz: unknown key "zzzzzzzz": known here: path, graph`},
		{"empty value", head + "  t:\n    run: [a]\n    outputs:\n", `graph.yaml:6: tasks.t.outputs: is empty: give it a value or leave it out`},
		{"no outputs", head + "  t: {run: [a]}\n", `graph.yaml:4: tasks.t: declares no outputs: outputs: [what it leaves: a file, a directory ("dir/"), or stdout]`},
		{"outputs is a string", head + "  t: {run: [a], outputs: o}\n", `graph.yaml:4: tasks.t.outputs: is a string, want a list: write it in brackets: [..]`},
		{"run is a string", head + "  t: {run: make all, outputs: [o]}\n", `graph.yaml:4: tasks.t.run: is a string, want a list: write it in brackets: [..]`},
		{"path is a number", head + "  t: {run: [a], outputs: [7]}\n", `graph.yaml:4: tasks.t.outputs[0]: is a number, want a path or {"path": .., "graph": ..}`},
		{"tool is a number", head + "  t: {run: [a], tools: [7], outputs: [o]}\n", `graph.yaml:4: tasks.t.tools[0]: is a number, want a string: write it in quotes`},
		{"task name", head + "  \"a b\": {run: [a], outputs: [o]}\n", `graph.yaml:4: tasks["a b"]: "a b" is not a usable name: use 1 to 100 of the characters A-Z a-z 0-9 _ . -`},
		{"task called parent", head + "  parent: {run: [a], outputs: [o]}\n  t: {run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.parent: the name "parent" stands for the task that wrote a sub-graph: call it something else`},
		{"variable name", head + "  t: {for: {a-b: [1]}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.for.a-b: "a-b" is not a usable name: use letters, digits and _, not beginning with a digit`},
		{"no command", head + "  t: {outputs: [o]}\n", `graph.yaml:4: tasks.t: needs one of run, shell, bash`},
		{"two commands", head + "  t: {run: [a], shell: b, outputs: [o]}\n", `graph.yaml:4: tasks.t: has run and shell at once: keep one`},
		{"no tasks", "gaggle: 1\ntasks: {}\ntargets: {o: \"@t/o\"}\n", `graph.yaml: tasks: there are no tasks: name at least one`},
		{"no targets", "gaggle: 1\ntasks: {t: {run: [a], outputs: [o]}}\ntargets: {}\n", `graph.yaml: targets: there are no targets: name what is wanted, as in {result.txt: "@task/output"}`},
		{"for and count", head + "  t: {for: {x: [1]}, count: 2, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t: has more than one of for, reduce and count: keep one; {range: [0, N]} is a count inside a for`},
		{"no variable", head + "  t: {for: {}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t: for names no variable: for: {name: [..]}`},
		{"root and tools", head + "  t: {run: [a], tools: [a], root: {dir: d}, outputs: [o]}\n", `graph.yaml:4: tasks.t: has root and tools at once: keep one; to add files to tools use include`},
		{"two roots", head + "  t: {run: [a], root: {dir: d, oci: i}, outputs: [o]}\n", `graph.yaml:4: tasks.t.root: has dir and oci at once: keep one`},
		{"two sources", head + "  t: {for: {x: {lines: a, csv: b}}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.for.x: has lines and csv at once: keep one`},
		{"chunk of a range", head + "  t: {for: {x: {range: [0, 5], chunk: 2}}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.for.x: has no use for chunk: chunk goes with glob and lines`},

		// Values.
		{"memory", head + "  t: {run: [a], memory: 5 potatoes, outputs: [o]}\n", `graph.yaml:4: tasks.t.memory: "5 potatoes" is not a size up to 1TiB`},
		{"timeout without unit", head + "  t: {run: [a], timeout: 60, outputs: [o]}\n", `graph.yaml:4: tasks.t.timeout: is a number, want a string with a unit, as in "90s": write it in quotes`},
		{"timeout", head + "  t: {run: [a], timeout: 60x, outputs: [o]}\n", `graph.yaml:4: tasks.t.timeout: "60x" is not a duration up to 168h`},
		{"cpu", head + "  t: {run: [a], cpu: -1, outputs: [o]}\n", `graph.yaml:4: tasks.t.cpu: "-1" is not a number of cores from 0.001 to 1024`},
		{"retries", head + "  t: {run: [a], retries: 11, outputs: [o]}\n", `graph.yaml:4: tasks.t.retries: "11" is not a whole number from 0 to 10`},
		{"count by a template", head + "  t: {count: \"{{n}}\", run: [a], outputs: [o]}\nparams: {n: 1.5}\n", `graph.yaml:4: tasks.t.count: "1.5" is not a whole number from 1 to 2000000`},
		{"count", head + "  t: {count: 0, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.count: "0" is not a whole number from 1 to 2000000`},
		{"by", head + "  t: {reduce: {from: \"@t/o\", by: 1}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.reduce.by: "1" is not a whole number from 2 to 50000`},
		{"range", head + "  t: {for: {x: {range: [3, 3]}}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.for.x: range [3, 3, 1] is empty: it runs from the first number to before the second, by the third`},
		{"range of one", head + "  t: {for: {x: {range: [3]}}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.for.x: range of 1 numbers: write [from, to] or [from, to, step]`},
		{"endless range", head + "  t: {for: {x: {range: [0, 9000000000]}}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.for.x: range of 9000000000 numbers exceeds the bound of 2000000: make each instance do more`},
		{"cross product", head + "  t: {for: {x: {range: [0, 2000]}, y: {range: [0, 2000]}}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t: 4000000 instances or more exceed the bound of 2000000: fewer or larger chunks`},
		{"network", head + "  t: {run: [a], network: bridge, outputs: [o]}\n", `graph.yaml:4: tasks.t.network: "bridge" is not known here: known here: loopback, overlay`},
		{"service alone", head + "  t: {run: [a], service: true, outputs: [o]}\n", `graph.yaml:4: tasks.t: is a service without a gang: a service lives as long as the others of its gang: give them gang: NAME`},
		{"network by a template", head + "  t: {run: [a], network: \"{{n}}\", outputs: [o]}\nparams: {n: overly}\n", `graph.yaml:4: tasks.t.network: "overly" is not known here: did you mean "overlay"?`},
		{"service that nobody reaches", head + "  t: {run: [a], gang: g, service: true}\n", `graph.yaml:4: tasks.t: is a service that nobody can reach: add network: overlay, to it and to the others of its gang`},
		{"service with outputs", head + "  t: {run: [a], gang: g, network: overlay, service: true, outputs: [o]}\n", `graph.yaml:4: tasks.t: has outputs, but a service is killed when the others of its gang have ended: let a task of its gang fetch and write what is wanted`},
		{"ready without service", head + "  t: {run: [a], gang: g, network: overlay, ready: {tcp: 80}, outputs: [o]}\n", `graph.yaml:4: tasks.t: has ready but is no service: add service: true`},
		{"ready port", head + "  t: {run: [a], gang: g, network: overlay, service: true, ready: {tcp: 70000}}\n", `graph.yaml:4: tasks.t.ready.tcp: "70000" is not a whole number from 1 to 65535`},
		{"ready port by a template", head + "  t: {run: [a], gang: g, network: overlay, outputs: [o]}\n  s: {run: [a], gang: g, network: overlay, service: true, ready: {tcp: \"{{p}}\"}}\nparams: {p: 0}\n", `graph.yaml:5: tasks.s.ready.tcp: "0" is not a whole number from 1 to 65535`},
		{"deterministic alone", head + "  t: {run: [a], deterministic: true, outputs: [o]}\n", `graph.yaml:4: tasks.t: has deterministic but no gang: leave it out: a task without a gang is taken to be`},
		{"gang by a template", head + "  t: {for: {x: [a b]}, run: [a], gang: \"{{x}}\", outputs: [o]}\n", `graph.yaml:4: tasks.t.gang: gang "a b" is not a usable name: use 1 to 100 of the characters A-Z a-z 0-9 _ . -`},
		{"gangs of a count", head + "  t: {count: 2, run: [a], gang: \"g{{GAGGLE_INDEX}}\", outputs: [o]}\n", `graph.yaml:4: tasks.t.gang: the instances of a count are of one gang: write the same gang for all, or use for`},
		{"gang of a reduce", head + "  t: {reduce: {from: \"@a/o\"}, gang: g, run: [a], outputs: [o]}\n  a: {count: 3, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t: the instances of a reduce wait for each other, so that they cannot start together: leave gang and network out`},
		{"gang with a graph", head + "  t: {gang: g, run: [a], outputs: [{path: o, graph: n}]}\n", `graph.yaml:4: tasks.t.outputs[0]: a task of a gang writes no graphs: let a task that needs it write the graph`},
		{"gang of services", head + "  t: {run: [a], outputs: [o]}\n  s: {run: [a], gang: g, network: overlay, service: true}\n", `graph.yaml:5: tasks.s: gang "g": all its members are services: let one task that is no service say by its end when they are to end`},
		{"gang half on a network", head + "  t: {run: [a], gang: g, outputs: [o]}\n  s: {run: [a], gang: g, network: overlay, outputs: [o]}\n", `graph.yaml:4: tasks.t: gang "g": some of its members are on a network and others are not: give all of them network: overlay, or none`},
		{"gang half deterministic", head + "  t: {run: [a], gang: g, outputs: [o]}\n  s: {run: [a], gang: g, deterministic: true, outputs: [o]}\n", `graph.yaml:4: tasks.t: gang "g": 1 of its members are deterministic and 1 are not: what one gives hangs on the others: say it of all that are no services, or of none`},
		{"member's own variable", head + "  t: {run: [a], gang: g, network: overlay, env: {GAGGLE_INDEX: 7}, outputs: [o]}\n", `graph.yaml:4: tasks.t.env.GAGGLE_INDEX: GAGGLE_INDEX says which instance a task is, or where, and is not for env: take it out: count, gang and network set it`},
		{"member's own variable by default", "gaggle: 1\ndefaults: {tools: [a], env: {GAGGLE_ADDR: x}}\ntargets: {o: \"@t/o\"}\ntasks:\n  t: {run: [a], outputs: [o]}\n", `graph.yaml:2: defaults.env.GAGGLE_ADDR: GAGGLE_ADDR says which instance a task is, or where, and is not for env: take it out: count, gang and network set it`},
		{"target of a service", "gaggle: 1\ndefaults: {tools: [a]}\ntargets: {o: \"@s/o\"}\ntasks:\n  t: {run: [a], gang: g, network: overlay, outputs: [o]}\n  s: {run: [a], gang: g, network: overlay, service: true}\n", `graph.yaml:3: targets.o: task "s" has no output "o": it is a service, which is killed when the others of its gang have ended: let one of those write what is wanted`},
		{"names that are an address", "gaggle: 1\ntargets: {o: \"@10.1/o\"}\ntasks:\n  \"10.1\": {run: [a], network: overlay, outputs: [o]}\n", `graph.yaml:4: tasks["10.1"]: task "10.1" cannot be looked up: programs take it for an address of their own machine: the others of its gang find it by its name: give it another`},
		{"names that collide", head + "  t: {run: [a], gang: g, network: overlay, count: 2, outputs: [o]}\n  t-1: {run: [a], gang: g, network: overlay, outputs: [o]}\n", `graph.yaml:4: tasks.t: gang "g": task "t-1" and an instance of task "t" have the same name on the network: call a task something else`},
		{"gang that waits for itself", head + "  t: {run: [a], gang: g, inputs: [\"@m/o\"], outputs: [o]}\n  m: {run: [a], inputs: [\"@f/o\"], outputs: [o]}\n  f: {run: [a], gang: g, outputs: [o]}\n", `graph.yaml:6: tasks.f: gang "g" cannot start: all its tasks begin together, and one of them needs what another gives: take tasks out of it, or let them pass on over the network what others of it need`},

		// Variables.
		{"unknown variable", head + "  t: {for: {sample: [1]}, run: [a, \"{{smaple}}\"], outputs: [o]}\n", `graph.yaml:4: tasks.t.run[1]: unknown variable {{smaple}}: did you mean "sample"?`},
		{"no variables", head + "  t: {shell: \"awk '{{print}}'\", outputs: [o]}\n", `graph.yaml:4: tasks.t.shell: unknown variable {{print}}: there are no variables here; only {{name}} is replaced, so { {name} } is kept`},
		{"reserved variable", head + "  t: {for: {PATH: [1]}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.for.PATH: variable "PATH" has a meaning of its own: it would be in the environment: call it something else`},
		{"variable in env", head + "  t: {for: {x: [1]}, env: {x: 2}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.for.x: "x" is a variable, which is in the environment, and in env: call one of them something else`},
		{"variable and parameter", head + "  t: {for: {x: [1]}, run: [a], outputs: [o]}\nparams: {x: 1}\n", `graph.yaml:4: tasks.t.for.x: "x" is a parameter and a variable: call one of them something else`},
		{"value twice", head + "  t: {for: {x: [a, a]}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t: two instances have the key "a": every instance needs values of its own; of a csv the first column names the row`},
		{"empty list", head + "  t: {for: {x: []}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.for.x: the list is empty: give it values, or leave the task out`},
		{"empty glob", head + "  t: {for: {x: {glob: \"*.none\"}}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.for.x.glob: nothing matches "*.none": it is relative to "/graph"; ** is any directories; if it may be so, say optional: true`},
		{"bad glob", head + "  t: {for: {x: {glob: \"[\"}}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.for.x.glob: pattern "[": syntax error in pattern`},
		{"glob outside", head + "  t: {for: {x: {glob: \"../*\"}}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.for.x.glob: "../*" leaves the directory of the graph file: put the graph file, or with coord submit --dir the start of its paths, above all that it uses`},
		{"lines missing", head + "  t: {for: {x: {lines: nope.txt}}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.for.x.lines: "nope.txt" does not exist: it is relative to "/graph"`},
		{"csv column", head + "  t: {for: {x: {csv: bad.csv}}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.for.x.csv: bad.csv: column "b c": columns are variables: use letters, digits and _, not beginning with a digit`},
		{"csv ragged", head + "  t: {for: {x: {csv: ragged.csv}}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.for.x.csv: ragged.csv: record on line 3: wrong number of fields`},
		{"value that cannot be quoted", head + "  t: {for: {x: [\"1; ls\"]}, shell: \"echo $(({{x}} + 1))\", outputs: [o]}\n", `graph.yaml:4: tasks.t.shell: {{x}} is "1; ls", which cannot be quoted where it stands (arithmetic, ${..}, backquotes, the end of a here-document, or a script that does not parse): use "$x" there, with env: {x: "{{x}}"} if it is a parameter`},
		{"chunk too large for a command", head + "  t: {for: {x: {lines: long.txt, chunk: 1000}}, run: [a, \"{{x}}\"], outputs: [o]}\n", `graph.yaml:4: tasks.t: variable x is 170001 bytes long, Linux takes 131071: smaller chunks; or read the names from the inputs, with find or in a directory`},

		// References.
		{"no such task", head + "  t: {inputs: [\"@coutn/o\"], run: [a], outputs: [o]}\n  count: {run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.inputs[0]: there is no task "coutn": did you mean "count"?`},
		{"no such output", head + "  t: {inputs: [\"@c/count\"], run: [a], outputs: [o]}\n  c: {run: [a], outputs: [counts]}\n", `graph.yaml:4: tasks.t.inputs[0]: task "c" has no output "count": did you mean "counts"?`},
		{"no such instance", head + "  t: {inputs: [\"@c[xx1]/o\"], run: [a], outputs: [o]}\n  c: {for: {x: [xx2]}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.inputs[0]: task "c" has no instance "xx1": did you mean "xx2"?`},
		{"key of a plain task", head + "  t: {inputs: [\"@c[1]/o\"], run: [a], outputs: [o]}\n  c: {run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.inputs[0]: task "c" has no instances with keys: write "@c/o"`},
		{"no output", head + "  t: {inputs: [\"@c\"], run: [a], outputs: [o]}\n  c: {run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.inputs[0]: "@c" names no output: a reference is "path", "@task/output", "@task[key]/output" or "@task/dir//sub/path"`},
		{"one slash into a directory", head + "  t: {inputs: [\"@c/d/x\"], run: [a], outputs: [o]}\n  c: {run: [a], outputs: [d/]}\n", `graph.yaml:4: tasks.t.inputs[0]: task "c" has no output "d/x": a part of a directory is written "@c/d//x"`},
		{"part of a file", head + "  t: {inputs: [\"@c/d//x\"], run: [a], outputs: [o]}\n  c: {run: [a], outputs: [d]}\n", `graph.yaml:4: tasks.t.inputs[0]: output "d" of task "c" is a file, nothing is below it: declare it as "d/"`},
		{"parent", head + "  t: {inputs: [\"@parent/x\"], run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.inputs[0]: only a graph that a task wrote has a parent: name a local file, or another task's output "@task/output"`},
		{"missing file", head + "  t: {inputs: [nope.c], run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.inputs[0]: "nope.c" does not exist: it is relative to "/graph"`},
		{"pattern as a file", head + "  t: {inputs: [\"*.c\"], run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.inputs[0]: "*.c" does not exist: a pattern is written {"glob": ..}`},
		{"escape", head + "  t: {inputs: [a/../../secret], run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.inputs[0]: "a/../../secret" leaves the directory of the graph file: put the graph file, or with coord submit --dir the start of its paths, above all that it uses`},
		{"absolute", head + "  t: {inputs: [/etc/passwd], run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.inputs[0]: "/etc/passwd" is an absolute path: local files are named relative to the graph file; programs and libraries of the machine belong in tools, include or root`},
		{"whole directory in a list", head + "  t: {inputs: [.], run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.inputs[0]: the whole directory has no path of its own: use the object form: inputs: {src: "."}`},
		{"text in a list", head + "  t: {inputs: [{text: hi}], run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.inputs[0]: an input that is no file needs a path: use the object form: inputs: {path: {"text": ..}}`},
		{"bad cid", head + "  t: {inputs: {x: {cid: Qmfoo}}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.inputs.x.cid: "Qmfoo" is not a CID of this mesh: one begins with bafkrei for a file, bafyrei for a directory`},
		{"path of an input", head + "  t: {inputs: {../x: a}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.inputs["../x"]: "../x" cannot be the path of an input: use a relative path without . and ..`},
		{"two inputs at one path", head + "  t: {inputs: [\"@c/o\", \"@d/o\"], run: [a], outputs: [o]}\n  c: {run: [a], outputs: [o]}\n  d: {run: [b], outputs: [o]}\n", `graph.yaml:4: tasks.t: t has two inputs at "o": rename one with the object form: inputs: {path: reference}`},
		{"input below an input", head + "  t: {inputs: {a: a, a/b: b}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t: t: input "a/b" lies below input "a"`},
		{"stdin of several", head + "  t: {stdin: \"@c/o\", run: [a], outputs: [o]}\n  c: {count: 2, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.stdin: standard input is several files: name one file`},
		{"output escapes", head + "  t: {run: [a], outputs: [../o]}\n", `graph.yaml:4: tasks.t.outputs[0]: "../o" cannot be the path of an output: use a relative path without . and ..`},
		{"output twice", head + "  t: {run: [a], outputs: [o, ./o]}\n", `graph.yaml:4: tasks.t.outputs[1]: output "o" is there twice: remove one`},
		{"stdout as directory", head + "  t: {run: [a], outputs: [stdout/]}\n", `graph.yaml:4: tasks.t.outputs[0]: standard output is no directory: write stdout, or call the directory something else`},
		{"graph is the output", head + "  t: {run: [a], outputs: [{path: o, graph: o}]}\n", `graph.yaml:4: tasks.t.outputs[0]: "o" cannot be the path of the graph: use a relative path of its own`},
		{"cycle", head + "  t: {inputs: [\"@a/o\"], run: [a], outputs: [o]}\n  a: {inputs: {x: \"@b/o\"}, run: [a], outputs: [o]}\n  b: {stdin: \"@t/o\", run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t: tasks wait for each other: t -> a -> b -> t: each of them needs the next; remove one of the references`},
		{"waits for itself", head + "  t: {inputs: [\"@t/o\"], run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t: tasks wait for each other: t -> t: each of them needs the next; remove one of the references`},
		{"reduce of one", head + "  t: {reduce: {from: \"@a/o\"}, run: [a], outputs: [o]}\n  a: {run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.reduce.from: there is nothing to reduce: name an output of a task with for or count: "@task/output"`},
		{"reduce of nothing", head + "  t: {reduce: {from: \"@a/o\"}, run: [a], outputs: [o]}\n  a: {for: {x: {glob: \"*.none\", optional: true}}, run: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t.reduce.from: task "a" has no instances to reduce: its glob is optional and matches nothing`},
		{"reduce with other outputs", head + "  t: {reduce: {from: \"@a/x\"}, run: [a], outputs: [o, p]}\n  a: {count: 3, run: [a], outputs: [x]}\n", `graph.yaml:4: tasks.t: a reduce with 2 outputs: call the output that goes up the tree "x", like what is reduced`},

		// Roots and programs.
		{"no programs", head + "  t: {run: [./a], outputs: [o]}\n", `graph.yaml:4: tasks.t: there are no programs for it to run with: name what it needs of this machine, tools: [sh, ..], or a root`},
		{"missing tool", head + "  t: {run: [a], tools: [missing-tool], outputs: [o]}\n", `graph.yaml:4: tasks.t: missing-tool is not on PATH: install it`},
		{"include is relative", head + "  t: {run: [a], include: [lib/*], outputs: [o]}\n", `graph.yaml:4: tasks.t.include[0]: include "lib/*" is not absolute: begin with /: files of the machine keep their place; local files are inputs`},
		{"include and dir", head + "  t: {run: [a], include: [/lib], root: {dir: d}, outputs: [o]}\n", `graph.yaml:4: tasks.t.root: include goes with tools: copy the files into the root, or name them as inputs`},
		{"root tree", head + "  t: {run: [a], root: {tree: xyz}, outputs: [o]}\n", `graph.yaml:4: tasks.t.root.tree: "xyz" is not the CID of a tree: it begins with bafyrei`},
		{"builtin", head + "  t: {run: [\"gaggle:select\", x], tools: [a], outputs: [o]}\n", `graph.yaml:4: tasks.t: the command names no program: run: [program, argument, ..]`},

		// Targets.
		{"target of a file", "gaggle: 1\ntasks: {t: {run: [a], outputs: [o]}}\ntargets: {o: o}\n", `graph.yaml:3: targets.o: a target is what a task makes: name an output: "@task/output"`},
		{"target of no task", "gaggle: 1\ntasks: {t1: {run: [a], outputs: [o]}}\ntargets: {o: \"@t2/o\"}\n", `graph.yaml:3: targets.o: there is no task "t2": did you mean "t1"?`},
		{"target outside", "gaggle: 1\ntasks: {t: {run: [a], outputs: [o]}}\ntargets: {../o: \"@t/o\"}\n", `graph.yaml:3: targets["../o"]: "../o" cannot be the path of a target: use a relative path without . and ..; it is below --out`},
		{"target below a target", "gaggle: 1\ntasks: {t: {run: [a], outputs: [o, p]}}\ntargets: {x: \"@t/o\", x/y: \"@t/p\"}\n", `graph.yaml:3: targets.x/y: target "x/y" lies below target "x": write one of them elsewhere`},
		{"targets collide", "gaggle: 1\ntasks: {t: {run: [a], outputs: [o]}}\ntargets: {x/: \"@t/o\", x/o: \"@t/o\"}\n", `graph.yaml:3: targets.x/o: two targets at "x/o": write one of them elsewhere`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := files("a", "b", "bad.csv=a,b c\x01\x311,2\x01", "ragged.csv=a,b\x011,2\x013\x01", longLines())
			p, err := m.expandText(c.text)
			if err == nil {
				t.Fatalf("expanded to\n%s\nwant the error %s", m.listing(p), c.want)
			}
			if e := mustErr(t, err); e.Error() != c.want || e.Cause != wire.CauseInvalid {
				t.Errorf("error (%v) =\n%s\nwant\n%s", e.Cause, e, c.want)
			}
		})
	}
}

// longLines is a file of 1,000 lines of 169 bytes.
func longLines() string {
	var b strings.Builder
	b.WriteString("long.txt=")
	for i := range 1000 {
		fmt.Fprintf(&b, "%0169d\x01", i)
	}
	return b.String()
}

func TestBadJSON(t *testing.T) {
	for text, want := range map[string]string{
		"{\"gaggle\": 1,\n}":       "-:2: this is not JSON: invalid character '}' looking for beginning of object key string",
		"{\"gaggle\": 1} x":        "-:1: this is not JSON: invalid character 'x' after top-level value",
		"{\"a\": 1,\n\n \"a\": 2}": "-:3: key \"a\" is there twice, first in line 1: remove one",
		"{\"gaggle\": 01}":         "-:1: this is not JSON: invalid character '1' after object key:value pair",
		"{'gaggle': 1}":            "-:1: this is not JSON: invalid character '\\'' looking for beginning of object key string",
		"{\"a\":" + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "}": "-:1: lists and objects are nested more than 32 deep: a graph needs seven",
	} {
		if _, err := Decode(strings.NewReader(text), "-"); err == nil || err.Error() != want {
			t.Errorf("Decode(%.40s) = %v, want %s", text, err, want)
		}
	}
}

// Several problems are told at once, up to a bound, and each once.
func TestSeveralProblems(t *testing.T) {
	_, err := files().expandText(head + "  t: {run: [a], outptus: [o], memroy: 1, outputs: [o]}\n  u: {rnu: [a], outputs: [o]}\n")
	want := `graph.yaml has 3 problems:
  graph.yaml:4: tasks.t.outptus: unknown key "outptus": did you mean "outputs"?
  graph.yaml:4: tasks.t.memroy: unknown key "memroy": did you mean "memory"?
  graph.yaml:5: tasks.u.rnu: unknown key "rnu": did you mean "run"?`
	if err == nil || err.Error() != want {
		t.Errorf("error =\n%v\nwant\n%s", err, want)
	}
	var b strings.Builder
	b.WriteString(head)
	for i := range 500 {
		fmt.Fprintf(&b, "  t%d: {inputs: [\"@x/o\"], run: [a], outputs: [o]}\n", i)
	}
	_, err = files().expandText(b.String())
	if e := mustErr(t, err); strings.Count(e.Message, "\n") != maxProblems+1 || !strings.Contains(e.Message, "more") {
		t.Errorf("500 problems are told as\n%s", e.Message)
	}
}

func TestParams(t *testing.T) {
	text := head + "  t: {run: [seq, \"{{top}}\"], outputs: [o]}\nparams: {top: 20}\n"
	_, err := files().expandText(text, "tpo=3")
	if want := `graph.yaml: there is no parameter "tpo": did you mean "top"?`; err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
	p, err := files().expandText(text, "top=50; rm -rf /")
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Thunks[0].Command[1]; got != "50; rm -rf /" {
		t.Errorf("argument = %q, want the parameter as it is", got)
	}
}

// TestUnracedTooLarge takes minutes with the race detector.
func TestUnracedTooLarge(t *testing.T) {
	for name, text := range map[string]string{
		"a text of 64 MiB":     `{"x":"` + strings.Repeat("x", wire.MaxGraphFile) + `"}`,
		"too many JSON values": `{"x":[` + strings.Repeat("1,", maxNodes) + `1]}`,
		"aliases of aliases":   bomb(),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Decode(strings.NewReader(text), "g")
			if e := mustErr(t, err); e.Cause != wire.CauseTooLarge || e.Hint == "" {
				t.Errorf("error (%v) = %v, want it too large, with a hint", e.Cause, e)
			}
		})
	}
	t.Run("YAML", func(t *testing.T) {
		_, err := Decode(strings.NewReader("a: "+strings.Repeat("x", maxYAML)), "g.yaml")
		if e := mustErr(t, err); e.Cause != wire.CauseTooLarge {
			t.Errorf("error (%v) = %v, want it too large", e.Cause, e)
		}
	})
}

// bomb is "a billion laughs".
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	return b.String()
}

// Errors of the store are not the file's.
func TestStoreFails(t *testing.T) {
	m := files("a")
	full := wire.Errorf(wire.CauseDiskFull, "make room", "no space left in the store")
	env := m.env()
	env.Files = failing{m, full}
	f, err := Decode(strings.NewReader(head+"  t: {inputs: [a], run: [x], outputs: [o]}\n"), "g.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err = Expand(context.Background(), f, env); wire.CauseOf(err) != wire.CauseDiskFull || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("error (%v) = %v, want the store's, with the file", wire.CauseOf(err), err)
	}
	env.Files = failing{m, fs.ErrPermission}
	if _, err = Expand(context.Background(), f, env); !strings.Contains(err.Error(), `"a" may not be read: make it readable`) {
		t.Errorf("error = %v, want the file and its permissions", err)
	}
	env.Files = failing{m, wire.Errorf(wire.CauseNotFound, "check it", "there is no file /graph/a")}
	if _, err = Expand(context.Background(), f, env); err.Error() != `g.yaml:4: tasks.t.inputs[0]: "a" does not exist: it is relative to "/graph"` {
		t.Errorf("error = %v, want the place in the file", err)
	}
	env.Files = failing{m, fmt.Errorf("adding: %w", wire.Errorf(wire.CauseInvalid, "rename it", "a holds a bad name"))}
	if _, err = Expand(context.Background(), f, env); err.Error() != `g.yaml:4: tasks.t.inputs[0]: a holds a bad name: rename it` {
		t.Errorf("error = %v, want the place in the file", err)
	}
	if _, err := Decode(failingReader{}, "g.yaml"); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Decode of a closed file = %v", err)
	}
}

type failing struct {
	*memory
	err error
}

func (f failing) Add(context.Context, string) (wire.Object, error) { return wire.Object{}, f.err }

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, fs.ErrClosed }
