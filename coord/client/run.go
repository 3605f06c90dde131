package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gaggle/coord/graph"
	"gaggle/wire"
)

// coord run makes one task of a command line for each argument. In the line and in the template
// of the output these stand for the argument, as in GNU parallel:
//
//	{}    the argument            img/a.jpg
//	{.}   without its extension   img/a
//	{/}   its last element        a.jpg
//	{/.}  that without extension  a
//	{#}   its number, from 1      1
//
// A line without any of them gets {} at its end. What is put into the line is quoted for the
// shell. The programs it names are captured; the files it names and the arguments that exist are
// its inputs. With a template of the output that one file comes back; without one the inputs are
// writable copies in a directory, and whatever is new or changed in it comes back.

// workDir is the directory, within the job directory, of a command whose outputs are not known
// beforehand. Its value is the whole directory.
const workDir = "work"

// keepFile makes the directory exist where a command has no input.
const keepFile = ".gaggle"

// fill puts argument number i (from 0) into a template.
func fill(template, arg string, i int, quoted bool) string {
	q := func(s string) string {
		if quoted {
			return quote(s)
		}
		return s
	}
	stem := func(s string) string {
		if ext := path.Ext(path.Base(s)); ext != path.Base(s) {
			return strings.TrimSuffix(s, ext)
		}
		return s
	}
	return strings.NewReplacer(
		"{}", q(arg), "{.}", q(stem(arg)), "{/}", q(path.Base(arg)), "{/.}", q(stem(path.Base(arg))), "{#}", strconv.Itoa(i+1),
	).Replace(template)
}

// line returns the shell text that is run for argument i; -1 stands for none.
func (r *Run) line(i int) string {
	text := r.Words[0]
	if len(r.Words) > 1 {
		text = quoteWords(r.Words)
	}
	if i < 0 {
		return text
	}
	filled := fill(text, r.Args[i], i, true)
	if filled == text && !slices.ContainsFunc(placeholders, func(p string) bool { return strings.Contains(text, p) }) {
		return text + " " + quote(r.Args[i])
	}
	return filled
}

var placeholders = []string{"{}", "{.}", "{/}", "{/.}", "{#}"}

// quoteWords quotes the words of a command but leaves placeholders bare, which fill quotes.
func quoteWords(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		rest := w
		for _, p := range placeholders {
			rest = strings.ReplaceAll(rest, p, "")
		}
		if quote(rest) == rest || rest == "" && w != "" {
			quoted[i] = w
		} else {
			quoted[i] = quote(w)
		}
	}
	return strings.Join(quoted, " ")
}

// kind is the program that the line begins with, to name the tasks by.
func (r *Run) kind() string {
	word, _, _ := strings.Cut(strings.TrimSpace(r.Words[0]), " ")
	name := strings.Map(func(c rune) rune {
		if strings.ContainsRune("()[]{}|&;<>$`\"'\\/*?#~=%!", c) {
			return '_'
		}
		return c
	}, path.Base(word))
	if !wire.ValidName(name) {
		return "run"
	}
	return name
}

// taskName names the task of argument i for people. An argument given twice is numbered.
func (r *Run) taskName(i int) string {
	arg := r.Args[i]
	if slices.Index(r.Args, arg) < i {
		arg += "#" + strconv.Itoa(i+1)
	}
	return r.kind() + "[" + arg + "]"
}

// run makes a graph of the command line and runs it.
func (s *session) run(ctx context.Context, cmd *Command) (*End, error) {
	r := cmd.Run
	if err := r.check(); err != nil {
		return nil, err
	}
	b, err := r.graph(cmd.Dir, cmd.Path)
	if err != nil {
		return nil, err
	}
	if word := r.noFile(cmd.Dir); word != "" {
		if err := s.send(&Event{Note: fmt.Sprintf("%s is no file here: it is passed on as a word", printable(word))}); err != nil {
			return nil, err
		}
	}
	f, err := graph.Decode(bytes.NewReader(b), "")
	if err != nil {
		return nil, err
	}
	if err := checkOut(cmd.Dir); err != nil {
		return nil, err
	}
	l, err := s.link(ctx, cmd)
	if err != nil {
		return nil, err
	}
	plan, err := s.expand(ctx, cmd, l, f, cmd.Dir, nil)
	if err != nil {
		return nil, err
	}
	numbers := make([]string, len(plan.Tasks))
	for i := range plan.Tasks {
		if numbers[i] = plan.Tasks[i].Name; r.together() {
			numbers[i] = peerNumber(plan.Tasks[i].Name)
		} else if n, err := strconv.Atoi(plan.Tasks[i].Name); err == nil && n > 0 && n <= len(r.Args) {
			plan.Tasks[i].Name = r.taskName(n - 1)
		} else {
			plan.Tasks[i].Name = r.kind()
		}
	}
	rec := &record{
		Name: r.kind(), Dir: cmd.Dir, Run: r, Out: cmd.Dir, Replace: true, Twice: r.Twice, Verify: r.Verify, Trust: r.Trust,
		Mesh: l.name, Local: cmd.Local,
	}
	if err := rec.checkTargets(plan); err != nil {
		return nil, err
	}
	if r.Out == "" {
		rec.Given = given(plan, numbers)
	}
	return s.begin(ctx, l, rec, plan, true, nil)
}

// fileName is what an argument looks like that names a file, most of the time.
var fileName = regexp.MustCompile(`^[^:]*\.[A-Za-z][A-Za-z0-9]*$`)

// noFile returns the first argument that looks like a file's name and is none.
func (r *Run) noFile(dir string) string {
	for _, arg := range r.Args {
		if fileName.MatchString(arg) {
			if _, err := os.Stat(absolute(dir, arg)); errors.Is(err, fs.ErrNotExist) {
				return arg
			}
		}
	}
	return ""
}

// A runTask is a task of coord run in the form of the graph file.
type runTask struct {
	Inputs  map[string]any `json:"inputs,omitempty"`
	Tools   []string       `json:"tools"`
	Run     []string       `json:"run"`
	Outputs []string       `json:"outputs"`
	Gang    string         `json:"gang,omitempty"`
	Network string         `json:"network,omitempty"`
	Count   int            `json:"count,omitempty"`
	Timeout string         `json:"timeout,omitempty"`
}

// maxRunGang bounds --gang; with arguments the gang may still be too large.
const maxRunGang = wire.MaxGang

// together reports whether all that is run starts together.
func (r *Run) together() bool { return r.Gang > 0 || r.Network }

// peerName is the name of the task of argument number i, from 1, or of a line without arguments, 0,
// where all start together, so that others find it: peer1, and with --gang each of it as peer1-0,
// peer1-1. A number alone would be taken for an address.
func peerName(i int) string {
	if i == 0 {
		return "peer"
	}
	return "peer" + strconv.Itoa(i)
}

// peerNumber is the number in a name of peerName's, with the key of an instance behind it or not.
func peerNumber(name string) string {
	name, _, _ = strings.Cut(strings.TrimPrefix(name, "peer"), "[")
	if name == "" {
		return "0"
	}
	return name
}

// check checks what is asked for.
func (r *Run) check() error {
	switch {
	case len(r.Words) == 0 || strings.TrimSpace(strings.Join(r.Words, "")) == "":
		return wire.Errorf(wire.CauseInvalid, "coord run 'convert {} {.}.png' ::: *.jpg", "no command to run")
	case r.Gang < 0 || max(1, r.Gang)*max(1, len(r.Args)) > maxRunGang && r.together():
		return wire.Errorf(wire.CauseInvalid, "ask for fewer, or name fewer arguments",
			"--gang %d of %d commands: 1 to %d can start together", r.Gang, max(1, len(r.Args)), maxRunGang)
	case r.Timeout < 0 || r.Timeout > wire.MaxTimeout:
		return wire.Errorf(wire.CauseInvalid, "as in 90s, 10m or 1h30m", "--timeout is %s: more than 0s, and at most %s", r.Timeout, wire.MaxTimeout)
	case r.together() && (r.Twice || r.Verify > 0):
		return wire.Errorf(wire.CauseInvalid, "leave one of them out", "what runs together is run once, so that nothing is compared")
	}
	return nil
}

// graph returns the graph file for the command line. Targets are named by number, and tasks as well if
// they do not run together. Of several instances each target has the index behind its path.
func (r *Run) graph(dir, searchPath string) ([]byte, error) {
	g := struct {
		Gaggle  int                `json:"gaggle"`
		Tasks   map[string]runTask `json:"tasks"`
		Targets map[string]string  `json:"targets"`
	}{1, map[string]runTask{}, map[string]string{}}
	outs := map[string]string{}
	for i := range max(1, len(r.Args)) {
		name, arg := strconv.Itoa(i+1), i
		if len(r.Args) == 0 {
			name, arg = "0", -1
		}
		t, err := r.task(dir, searchPath, arg)
		if err != nil {
			return nil, err
		}
		task := name
		if r.together() {
			task = peerName(arg + 1)
			t.Gang = "run"
			if r.Network {
				t.Network = "overlay"
			}
			if r.Gang > 1 {
				t.Count = r.Gang
			}
		}
		g.Tasks[task] = *t
		for _, o := range t.Outputs {
			g.Targets[name+"/"+strings.TrimSuffix(o, "/")] = "@" + task + "/" + strings.TrimSuffix(o, "/")
			if o != wire.Stdout && r.Out != "" {
				if other, twice := outs[o]; twice {
					return nil, wire.Errorf(wire.CauseInvalid, "use {}, {.} or {#} in --out", "arguments %s and %s both write %q", other, name, o)
				}
				outs[o] = name
			}
		}
	}
	return json.Marshal(g)
}

func (r *Run) task(dir, searchPath string, i int) (*runTask, error) {
	line := r.line(i)
	words, err := commandWords(line, dir, searchPath)
	if err != nil {
		return nil, err
	}
	t := &runTask{Tools: words.tools, Run: []string{"sh", "-c", line}, Outputs: []string{wire.Stdout}, Inputs: map[string]any{}}
	if r.Timeout > 0 {
		t.Timeout = r.Timeout.String()
	}
	below := ""
	if r.Out == "" {
		below = workDir + "/"
		t.Run[2] = "cd " + workDir + "\n" + line
		t.Outputs = append(t.Outputs, workDir+"/")
		t.Inputs[below+keepFile] = map[string]string{"text": ""}
	} else {
		out, arg := r.Out, ""
		if i >= 0 {
			arg = r.Args[i]
			out = fill(out, arg, i, false)
		}
		if err := wire.CheckPath(path.Clean(out)); err != nil {
			return nil, wire.Errorf(wire.CauseInvalid, "the output must lie below the current directory", "--out gives %q", out)
		}
		clean := path.Clean(out)
		if strings.HasSuffix(out, "/") {
			clean += "/"
		}
		t.Outputs = append(t.Outputs, clean)
	}
	names := words.files
	if i >= 0 {
		// What an earlier run has left where the output goes is no input, or all would run again.
		names = slices.DeleteFunc(names, func(name string) bool { return t.writes(path.Clean(filepath.ToSlash(name))) })
		names = append(names, r.Args[i])
	}
	for _, name := range names {
		if err := addInput(t, dir, below, name, i >= 0 && name == r.Args[i]); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// writes reports whether a path is an output, or within one.
func (t *runTask) writes(name string) bool {
	return slices.ContainsFunc(t.Outputs, func(o string) bool { return name == o || strings.HasPrefix(name+"/", strings.TrimSuffix(o, "/")+"/") })
}

// addInput makes a name an input if it is a file or directory below dir. An argument that exists
// elsewhere is an error; another word is just a word.
func addInput(t *runTask, dir, below, name string, argument bool) error {
	info, err := os.Stat(absolute(dir, name))
	clean := path.Clean(filepath.ToSlash(name))
	switch {
	case err != nil || clean == ".":
		return nil
	case !fs.ValidPath(clean):
		if !argument {
			return nil
		}
		return wire.Errorf(wire.CauseInvalid, "go to a directory above it", "argument %q is not below the current directory", name)
	case !info.Mode().IsRegular() && !info.IsDir():
		return nil
	}
	for have := range t.Inputs { // one below the other would be there twice
		have = strings.TrimPrefix(have, below)
		if strings.HasPrefix(have, clean+"/") {
			delete(t.Inputs, below+have)
		} else if strings.HasPrefix(clean, have+"/") {
			return nil
		}
	}
	t.Inputs[below+clean] = "./" + clean
	return nil
}
