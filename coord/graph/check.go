package graph

import (
	"strings"
)

// exactlyOne checks that one of some keys is there.
func exactlyOne[T any](names ...string) func(d *decoder, n *node, t *T) bool {
	return func(d *decoder, n *node, _ *T) bool {
		var have []string
		for _, name := range names {
			if n.has(name) {
				have = append(have, name)
			}
		}
		switch len(have) {
		case 1:
			return true
		case 0:
			return d.wrong(n, "", "needs one of %s", strings.Join(names, ", "))
		}
		return d.wrong(n, "keep one", "has %s at once", strings.Join(have, " and "))
	}
}

func checkSource(d *decoder, n *node, s *source) bool {
	if !exactlyOne[source]("glob", "lines", "csv", "range")(d, n, s) {
		return false
	}
	s.isGlob, s.isRange = n.has("glob"), n.has("range")
	switch {
	case n.has("chunk") && !s.isGlob && !n.has("lines"):
		return d.wrong(n, "chunk goes with glob and lines", "has no use for chunk")
	case n.has("optional") && !s.isGlob:
		return d.wrong(n, "optional goes with glob", "has no use for optional")
	case s.isRange && len(s.span) != 2 && len(s.span) != 3:
		return d.wrong(n, "write [from, to] or [from, to, step]", "range of %d numbers", len(s.span))
	}
	return true
}

// checkTask checks what the keys of a task say together.
func checkTask(d *decoder, n *node, t *task) bool {
	if !exactlyOne[task]("run", "shell", "bash")(d, n, t) {
		return false
	}
	ok := true
	many := 0
	for _, name := range []string{"for", "reduce", "count"} {
		if n.has(name) {
			many++
		}
	}
	if many > 1 {
		ok = d.wrong(n, "keep one; {range: [0, N]} is a count inside a for", "has more than one of for, reduce and count")
	}
	if n.has("for") && len(t.loops) == 0 {
		ok = d.wrong(n, "for: {name: [..]}", "for names no variable")
	}
	if n.has("run") && len(t.run) == 0 {
		ok = d.wrong(n, "run: [program, argument, ..]", "run is empty")
	}
	if len(t.outputs) == 0 && !t.service {
		ok = d.wrong(n, "outputs: [what it leaves: a file, a directory (\"dir/\"), or stdout]", "declares no outputs")
	}
	if n.has("root") && n.has("tools") {
		ok = d.wrong(n, "keep one; to add files to tools use include", "has root and tools at once")
	}
	return checkNetwork(d, n, t) && ok
}

func checkNetwork(d *decoder, n *node, t *task) bool {
	overlay := t.network.set() && t.network.raw != "loopback"
	switch {
	case t.service && !t.gang.set():
		return d.wrong(n, "a service lives as long as the others of its gang: give them gang: NAME", "is a service without a gang")
	case t.service && !overlay:
		return d.wrong(n, "add network: overlay, to it and to the others of its gang", "is a service that nobody can reach")
	case t.service && n.has("outputs"):
		return d.wrong(n, "let a task of its gang fetch and write what is wanted", "has outputs, but a service is killed when the others of its gang have ended")
	case n.has("ready") && !t.service:
		return d.wrong(n, "add service: true", "has ready but is no service")
	case t.deterministic && !t.gang.set() && !overlay:
		return d.wrong(n, "leave it out: a task without a gang is taken to be", "has deterministic but no gang")
	case n.has("gang") && t.gang.literal() && validName(t.gang.raw) != "":
		return d.wrong(n, validName(t.gang.raw), "gang %q is not a usable name", clip(t.gang.raw))
	}
	return true
}

// check checks what needs the whole file.
func (f *File) check(ps *problems) {
	if len(f.tasks) == 0 {
		ps.add(pos{path: "tasks"}, "name at least one", "there are no tasks")
	}
	if len(f.targets) == 0 {
		ps.add(pos{path: "targets"}, "name what is wanted, as in {result.txt: \"@task/output\"}", "there are no targets")
	}
	checkEnv(ps, f.defaults.env)
	for i := range f.tasks {
		checkEnv(ps, f.tasks[i].val.env)
	}
}

// checkEnv checks that env says nothing else of an instance than it is told.
func checkEnv(ps *problems, env []pair[tmpl]) {
	for i := range env {
		switch name := env[i].key; name {
		case gaggleTask, gaggleIndex, gaggleCount, gaggleAddr:
			ps.add(env[i].pos, "take it out: count, gang and network set it",
				"%s says which instance a task is, or where, and is not for env", name)
		}
	}
}

// taskNames returns the names of the tasks, for messages.
func (f *File) taskNames() []string {
	names := make([]string, len(f.tasks))
	for i := range f.tasks {
		names[i] = f.tasks[i].key
	}
	return names
}

// inherit fills in what the task does not say itself, but for env and labels, which are merged
// where they are used.
func (s *settings) inherit(d *settings) {
	if s.tools == nil && s.root.line == 0 {
		s.tools, s.root = d.tools, d.root
		if s.include == nil {
			s.include = d.include
		}
	}
	for _, h := range []struct{ own, other *tmpl }{{&s.cpu, &d.cpu}, {&s.memory, &d.memory},
		{&s.timeout, &d.timeout}, {&s.retries, &d.retries}, {&s.priority, &d.priority}} {
		if !h.own.set() {
			*h.own = *h.other
		}
	}
}
