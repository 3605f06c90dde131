package graph

import (
	"fmt"

	"gaggle/wire"
)

// A File is a decoded graph file.
type File struct {
	Name string // as given to Decode, for messages

	version  tmpl
	schema   tmpl
	params   []pair[tmpl]
	defaults settings
	tasks    []pair[*task]
	targets  []pair[tmpl] // path -> reference
}

// settings are what a task may take from defaults.
type settings struct {
	root    rootDecl
	tools   []tmpl // nil: not in the file
	include []tmpl
	env     []pair[tmpl]
	hintDecl
}

type hintDecl struct {
	cpu, memory, timeout, retries, priority tmpl
	labels                                  []pair[tmpl]
}

type task struct {
	settings
	loops  []pair[source]
	reduce reduceDecl
	count  tmpl

	inputs        []inputDecl
	stdin         refDecl
	run           []tmpl
	shell, bash   tmpl
	outputs       []outputDecl
	gang, network tmpl
	service       bool
	ready         readyDecl
	deterministic bool
}

type rootDecl struct {
	pos
	tools          []tmpl
	dir, tree, oci tmpl
}

// A source is what a for variable runs over.
type source struct {
	pos
	items           []tmpl // of a list
	glob            []tmpl
	lines, csv      tmpl
	span            []tmpl // of {range}
	chunk           tmpl
	optional        bool
	isGlob, isRange bool
}

type reduceDecl struct {
	pos
	from, by tmpl
}

// A refDecl is a reference as it stands in the file: a string, or an object.
type refDecl struct {
	pos              // line 0: the key is not in the file, and objectDecl nil
	ref         tmpl // the string form
	*objectDecl      // the object form; noObject if it is a string
}

// An objectDecl is a reference that is an object. There are as many references as inputs, and few
// are objects.
type objectDecl struct {
	text, cid, size, glob tmpl
	executable            bool
}

var noObject objectDecl // never written to

type inputDecl struct {
	path tmpl // not set in the list form
	ref  refDecl
}

type outputDecl struct {
	pos
	path, graph tmpl
}

type readyDecl struct {
	pos
	tcp tmpl
}

// The codecs of the file, from the outside in. Their fields are the only place that says which
// keys there are.
var fileCodec = objectOf([]field[File]{
	must(attr("gaggle", "the version of this format: 1", versionCodec, func(f *File) *tmpl { return &f.version })),
	attr("$schema", "for editors; not read", template, func(f *File) *tmpl { return &f.schema }),
	attr("params", "names with values for {{name}}, which coord submit -p name=value replaces",
		mapOf(scalar, variablePattern, validVariable), func(f *File) *[]pair[tmpl] { return &f.params }),
	attr("defaults", "what every task has that does not say otherwise", defaultsCodec, func(f *File) *settings { return &f.defaults }),
	must(attr("tasks", "the commands, by name", mapOf(pointerTo(taskCodec), namePattern, validName), func(f *File) *[]pair[*task] { return &f.tasks })),
	must(attr("targets", "the outputs that are wanted: a path below --out, and a reference \"@task/output\"; with all instances of a task below it if the task has several",
		mapOf(template, "", func(string) string { return "" }), func(f *File) *[]pair[tmpl] { return &f.targets })),
}, nil, nil)

const (
	variablePattern = "^[A-Za-z_][A-Za-z0-9_]{0,99}$"
	namePattern     = "^[A-Za-z0-9_.-]{1,100}$"
	intPattern      = "^(-?[0-9]+|.*\\{\\{.*\\}\\}.*)$"
)

var versionCodec = with(templateOf(shape{}, "the number 1", func(s string) (string, string) {
	if s != "1" {
		return fmt.Sprintf("format %q is not known here", clip(s)), "write gaggle: 1, or update gaggle on this machine"
	}
	return "", ""
}, number), shape{"const": 1})

var defaultsCodec = objectOf(settingFields(func(s *settings) *settings { return s }), nil, nil)

// settingFields are the keys that defaults and tasks share.
func settingFields[T any](of func(*T) *settings) []field[T] {
	return []field[T]{
		attr("tools", "programs of this machine that the task's file system is made of; the command's own is added",
			listOf(template), func(t *T) *[]tmpl { return &of(t).tools }),
		attr("include", "absolute globs of more files of this machine, for tools",
			listOf(template), func(t *T) *[]tmpl { return &of(t).include }),
		attr("root", "the task's file system: {tools: [..]}, {dir: ..}, {tree: CID} or {oci: image.tar}", rootCodec, func(t *T) *rootDecl { return &of(t).root }),
		attr("env", "environment variables", mapOf(scalar, variablePattern, validVariable), func(t *T) *[]pair[tmpl] { return &of(t).env }),
		attr("cpu", "cores it keeps busy, 0.001 to 1024", hint(numberOrString, parseCPU), func(t *T) *tmpl { return &of(t).cpu }),
		attr("memory", "memory limit, as in \"256MiB\"; 512MiB unless set", hint(numberOrString, parseSize), func(t *T) *tmpl { return &of(t).memory }),
		attr("timeout", "limit on running time, as in \"90s\" or \"1h30m\"; 1h unless set", hint(shape{"type": "string"}, parseTimeout), func(t *T) *tmpl { return &of(t).timeout }),
		attr("retries", "how often a failure of the task's own is tried again, 0 to 10", intOf(0, maxRetries), func(t *T) *tmpl { return &of(t).retries }),
		attr("priority", "-100 to 100; higher goes first", intOf(-maxPriority, maxPriority), func(t *T) *tmpl { return &of(t).priority }),
		attr("labels", "what the node's labels must be", mapOf(scalar, namePattern, validName), func(t *T) *[]pair[tmpl] { return &of(t).labels }),
	}
}

const (
	maxRetries  = 10  // wire.Hints.Retries
	maxPriority = 100 // wire.Hints.Priority
)

var taskCodec = with(objectOf(append(settingFields(func(t *task) *settings { return &t.settings }),
	attr("for", "variables with what they run over; one instance for every combination",
		mapOf(sourceCodec, variablePattern, validVariable), func(t *task) *[]pair[source] { return &t.loops }),
	attr("reduce", "a tree of instances, each with up to by parts in in/", reduceCodec, func(t *task) *reduceDecl { return &t.reduce }),
	attr("count", "how many instances, told apart by GAGGLE_INDEX", intOf(1, maxInstances), func(t *task) *tmpl { return &t.count }),
	attr("inputs", "files and directories: a list of references keeps their paths, an object gives them new ones", inputsCodec, func(t *task) *[]inputDecl { return &t.inputs }),
	attr("stdin", "a reference to what is standard input", refCodec, func(t *task) *refDecl { return &t.stdin }),
	attr("run", "the command, as a list of arguments", listOf(scalar), func(t *task) *[]tmpl { return &t.run }),
	attr("shell", "a script for sh -eu", template, func(t *task) *tmpl { return &t.shell }),
	attr("bash", "a script for bash -euo pipefail", template, func(t *task) *tmpl { return &t.bash }),
	attr("outputs", "what the task leaves: files, directories (\"dir/\"), stdout; a service has none", listOf(outputCodec), func(t *task) *[]outputDecl { return &t.outputs }),
	attr("gang", "a name; the tasks of one gang start together", template, func(t *task) *tmpl { return &t.gang }),
	attr("network", "loopback (the default), or overlay: the tasks of a gang reach each other, and nobody else, by their names: TASK-0, TASK-1 and so on, TASK for all of them; GAGGLE_TASK, GAGGLE_INDEX, GAGGLE_COUNT and GAGGLE_ADDR tell each who it is", enum("loopback", "overlay"), func(t *task) *tmpl { return &t.network }),
	attr("service", "ends when the others of its gang have", yesNo, func(t *task) *bool { return &t.service }),
	attr("ready", "what must answer before the others of the gang start, within five minutes, as in {tcp: 6379}", readyCodec, func(t *task) *readyDecl { return &t.ready }),
	attr("deterministic", "of tasks of a gang: they give the same whenever all of the gang are the same, so that it is remembered", yesNo, func(t *task) *bool { return &t.deterministic }),
), nil, checkTask), shape{"oneOf": required("run", "shell", "bash"), "anyOf": required("outputs", "service")})

var rootCodec = with(objectOf([]field[rootDecl]{
	attr("tools", "programs of this machine", listOf(template), func(r *rootDecl) *[]tmpl { return &r.tools }),
	attr("dir", "a directory of this machine", template, func(r *rootDecl) *tmpl { return &r.dir }),
	attr("tree", "the CID of a tree", template, func(r *rootDecl) *tmpl { return &r.tree }),
	attr("oci", "an OCI image archive", template, func(r *rootDecl) *tmpl { return &r.oci }),
}, func(d *decoder, n *node) rootDecl { return rootDecl{pos: d.at(n)} }, exactlyOne[rootDecl]("tools", "dir", "tree", "oci")),
	oneOf("tools", "dir", "tree", "oci"))

var sourceCodec = either("a list, {glob}, {lines}, {csv} or {range}", map[kind]codec[source]{
	list: convert(listOf(scalar), func(d *decoder, n *node, items []tmpl) (source, bool) {
		return source{pos: d.at(n), items: items}, true
	}),
	object: with(objectOf([]field[source]{
		attr("glob", "a pattern, or several, of local files; ** is any directories, a final / means directories", globCodec, func(s *source) *[]tmpl { return &s.glob }),
		attr("lines", "a local file with a value on each line", template, func(s *source) *tmpl { return &s.lines }),
		attr("csv", "a local file with a header; its columns are variables, the first the key", template, func(s *source) *tmpl { return &s.csv }),
		attr("range", "[from, to] or [from, to, step]: whole numbers from from to before to", with(listOf(intOf(-maxSpan, maxSpan)), shape{"minItems": 2, "maxItems": 3}), func(s *source) *[]tmpl { return &s.span }),
		attr("chunk", "about how many values of a glob or of lines go to one instance", intOf(1, maxInstances), func(s *source) *tmpl { return &s.chunk }),
		attr("optional", "a glob may find nothing", yesNo, func(s *source) *bool { return &s.optional }),
	}, func(d *decoder, n *node) source { return source{pos: d.at(n)} }, checkSource), oneOf("glob", "lines", "csv", "range")),
}, list, object)

// maxSpan bounds the numbers of a range, so that none overflows.
const maxSpan = 1 << 53

var globCodec = either("a pattern or a list of them", map[kind]codec[[]tmpl]{
	str:  convert(template, func(d *decoder, n *node, t tmpl) ([]tmpl, bool) { return []tmpl{t}, true }),
	list: listOf(template),
}, str, list)

var reduceCodec = objectOf([]field[reduceDecl]{
	must(attr("from", "an output of a task that has instances: \"@task/output\"", template, func(r *reduceDecl) *tmpl { return &r.from })),
	attr("by", "at most how many parts one instance gets, 2 or more; 16 if left out", intOf(2, wire.MaxInputs/2), func(r *reduceDecl) *tmpl { return &r.by }),
}, func(d *decoder, n *node) reduceDecl { return reduceDecl{pos: d.at(n)} }, nil)

var refCodec = either(`a reference or {"text": ..}, {"cid": ..}`, map[kind]codec[refDecl]{
	str: convert(template, func(d *decoder, n *node, t tmpl) (refDecl, bool) {
		return refDecl{pos: d.at(n), ref: t, objectDecl: &noObject}, true
	}),
	object: convert(with(objectOf([]field[objectDecl]{
		attr("text", "the content itself", template, func(r *objectDecl) *tmpl { return &r.text }),
		attr("cid", "the CID of a file or directory that the mesh holds", template, func(r *objectDecl) *tmpl { return &r.cid }),
		attr("size", "of cid, in bytes; needed where the object is not on this machine", intOf(0, wire.MaxBlob), func(r *objectDecl) *tmpl { return &r.size }),
		attr("executable", "of cid or text: the file may be run", yesNo, func(r *objectDecl) *bool { return &r.executable }),
		attr("glob", "in a list of inputs: a pattern of local files, which keep their paths", template, func(r *objectDecl) *tmpl { return &r.glob }),
	}, nil, exactlyOne[objectDecl]("text", "cid", "glob")), oneOf("text", "cid", "glob")), func(d *decoder, n *node, o objectDecl) (refDecl, bool) {
		return refDecl{pos: d.at(n), objectDecl: &o}, true
	}),
}, str, object)

var inputsCodec = either("a list or an object", map[kind]codec[[]inputDecl]{
	list: convert(listOf(refCodec), func(d *decoder, n *node, refs []refDecl) ([]inputDecl, bool) {
		in := make([]inputDecl, len(refs))
		for i, r := range refs {
			in[i].ref = r
		}
		return in, true
	}),
	object: convert(mapOf(refCodec, "", func(string) string { return "" }), func(d *decoder, n *node, refs []pair[refDecl]) ([]inputDecl, bool) {
		in := make([]inputDecl, len(refs))
		for i, r := range refs {
			in[i] = inputDecl{compile(r.key, r.pos), r.val}
		}
		return in, true
	}),
}, list, object)

var outputCodec = either(`a path or {"path": .., "graph": ..}`, map[kind]codec[outputDecl]{
	str: convert(template, func(d *decoder, n *node, t tmpl) (outputDecl, bool) {
		return outputDecl{pos: d.at(n), path: t}, true
	}),
	object: objectOf([]field[outputDecl]{
		must(attr("path", "of the file, or directory with a final /", template, func(o *outputDecl) *tmpl { return &o.path })),
		attr("graph", "where the task may write a graph instead, whose only target becomes the output", template, func(o *outputDecl) *tmpl { return &o.graph }),
	}, func(d *decoder, n *node) outputDecl { return outputDecl{pos: d.at(n)} }, nil),
}, str, object)

var readyCodec = objectOf([]field[readyDecl]{
	must(attr("tcp", "a port that must take a connection", intOf(1, 65535), func(r *readyDecl) *tmpl { return &r.tcp })),
}, func(d *decoder, n *node) readyDecl { return readyDecl{pos: d.at(n)} }, nil)

var numberOrString = shape{"type": []string{"number", "string"}}

// hint reads a template of what parse takes.
func hint[V any](sh shape, parse func(string) (V, string)) codec[tmpl] {
	kinds, want := []kind{str, number}, "a string or number"
	if sh["type"] == "string" {
		kinds, want = []kind{str}, "a string with a unit, as in \"90s\""
	}
	return templateOf(sh, want, func(s string) (string, string) {
		_, wrong := parse(s)
		return wrong, ""
	}, kinds...)
}

// intOf reads a whole number, or a template of one.
func intOf(lo, hi int) codec[tmpl] {
	sh := shape{"anyOf": []shape{{"type": "integer", "minimum": lo, "maximum": hi}, {"type": "string", "pattern": intPattern}}}
	return templateOf(sh, "a whole number", func(s string) (string, string) {
		_, wrong := wholeNumber(s, lo, hi)
		return wrong, ""
	}, number, str)
}

// enum reads one of some words, or a template of one.
func enum(words ...string) codec[tmpl] {
	sh := shape{"anyOf": []shape{{"enum": words}, {"type": "string", "pattern": "\\{\\{.*\\}\\}"}}}
	return templateOf(sh, "a string", func(s string) (string, string) {
		for _, w := range words {
			if s == w {
				return "", ""
			}
		}
		return fmt.Sprintf("%q is not known here", clip(s)), Nearest(s, words)
	}, str)
}
