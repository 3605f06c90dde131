package capture

import (
	"path"
	"regexp"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"gaggle/wire"
)

// maxScript bounds what is read of a script in search of what it calls.
const maxScript = 256 << 10

// script takes the interpreter of a script, and the programs that it calls, as wrappers do. Those
// may be missing: not every branch of a script is gone.
func (t *tools) script(p, text string, optional bool) error {
	first, rest, _ := strings.Cut(strings.TrimPrefix(text, "#!"), "\n")
	words := strings.Fields(first)
	if len(words) == 0 || !path.IsAbs(words[0]) {
		return wire.Errorf(wire.CauseInvalid, "give a root", "script %s has no interpreter that is known: %q", p, first)
	}
	if err := t.program(words[0], optional); err != nil {
		return err
	}
	interpreter := path.Base(words[0])
	if interpreter == "env" {
		for _, w := range words[1:] {
			if strings.HasPrefix(w, "-") || strings.Contains(w, "=") {
				continue
			}
			if err := t.named(w); err != nil {
				return err
			}
			interpreter = w
			break
		}
	}
	calls := pathInScript.FindAllString(comment.ReplaceAllString(rest, ""), -1)
	if shells[interpreter] {
		calls = append(calls, shellCalls(p, rest, t.host.canonical)...)
	}
	for _, c := range calls {
		if err := t.call(c); err != nil {
			return err
		}
	}
	return nil
}

var (
	pathInScript = regexp.MustCompile(`/[A-Za-z0-9_.+/-]+`)
	comment      = regexp.MustCompile(`(?m)^[ \t]*#.*$`)
	shells       = map[string]bool{"sh": true, "bash": true, "dash": true, "ash": true, "ksh": true}
)

// call takes what a script seems to call, by path or by name.
func (t *tools) call(name string) error {
	if !path.IsAbs(name) {
		if t.shadowed(name) {
			return nil
		}
		err := t.named(name)
		if wire.CauseOf(err) == wire.CauseInvalid {
			return nil
		}
		return err
	}
	name = path.Clean(name)
	if !t.runnable(name) {
		return nil
	}
	if err := t.program(name, true); err != nil && wire.CauseOf(err) != wire.CauseInvalid {
		return err // else it only looked like a call
	}
	return nil
}

// shadowed reports whether a word is none that a shell looks for on PATH, or nothing there.
func (t *tools) shadowed(name string) bool {
	if builtins[name] || wire.CheckName(name) != nil {
		return true
	}
	for _, dir := range t.path {
		if t.runnable(path.Join(dir, name)) {
			return false
		}
	}
	return true
}

// Builtin reports whether a shell carries a command out itself.
func Builtin(name string) bool { return builtins[name] }

var builtins = map[string]bool{".": true, ":": true, "[": true, "alias": true, "bg": true, "break": true, "builtin": true, "cd": true,
	"command": true, "continue": true, "declare": true, "echo": true, "eval": true, "exec": true, "exit": true, "export": true,
	"false": true, "getopts": true, "hash": true, "jobs": true, "kill": true, "let": true, "local": true, "printf": true, "pwd": true, "read": true,
	"readonly": true, "return": true, "set": true, "shift": true, "shopt": true, "source": true, "test": true, "times": true, "trap": true,
	"true": true, "type": true, "typeset": true, "ulimit": true, "umask": true, "unalias": true, "unset": true, "wait": true}

// shellCalls returns the commands of a shell script at p that can be told without running it:
// words without expansions, and paths made of variables that were given such, of $0 and of its
// directory in the usual spellings. canonical follows the links of this machine.
func shellCalls(p, text string, canonical func(string) (string, error)) []string {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), p)
	if err != nil {
		return nil
	}
	s := shellWords{canonical: canonical, vars: map[string]string{"0": p}, functions: map[string]bool{}}
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.FuncDecl:
			s.functions[n.Name.Value] = true
		case *syntax.CallExpr:
			s.call(n)
		}
		return true
	})
	var calls []string
	for _, c := range s.calls {
		if !s.functions[c] {
			calls = append(calls, c)
		}
	}
	return calls
}

// A shellWords follows a script from top to bottom, branches taken or not.
type shellWords struct {
	canonical func(string) (string, error)
	vars      map[string]string
	functions map[string]bool
	calls     []string
}

// starters run the command that follows them and their options.
var starters = map[string]bool{"exec": true, "command": true, "env": true, "nice": true, "nohup": true, "time": true, "xargs": true}

func (s *shellWords) call(c *syntax.CallExpr) {
	for _, a := range c.Assigns {
		if a.Name == nil || a.Value == nil || a.Append {
			continue
		}
		if v, ok := s.word(a.Value); ok {
			s.vars[a.Name.Value] = v
		}
	}
	for _, w := range c.Args {
		text, ok := s.word(w)
		if !ok || text == "" {
			return
		}
		if strings.HasPrefix(text, "-") || strings.Contains(text, "=") {
			continue // of a starter
		}
		s.calls = append(s.calls, text)
		if !starters[text] {
			return
		}
	}
}

// word returns the text of a word, as far as it can be told.
func (s *shellWords) word(w *syntax.Word) (string, bool) { return s.parts(w.Parts) }

func (s *shellWords) parts(parts []syntax.WordPart) (string, bool) {
	var b strings.Builder
	for _, p := range parts {
		text, ok := "", true
		switch p := p.(type) {
		case *syntax.Lit:
			text = strings.ReplaceAll(p.Value, `\`, "")
		case *syntax.SglQuoted:
			text = p.Value
		case *syntax.DblQuoted:
			text, ok = s.parts(p.Parts)
		case *syntax.ParamExp:
			text, ok = s.param(p)
		case *syntax.CmdSubst:
			text, ok = s.substitution(p)
		default:
			ok = false
		}
		if !ok {
			return "", false
		}
		b.WriteString(text)
	}
	return b.String(), true
}

// param knows $x, ${x}, ${x%/*} and ${x:-word}.
func (s *shellWords) param(p *syntax.ParamExp) (string, bool) {
	value, known := s.vars[p.Param.Value]
	switch {
	case p.Exp == nil && p.Slice == nil && p.Repl == nil && !p.Length && !p.Excl && p.Index == nil:
		return value, known
	case p.Exp == nil || p.Exp.Word == nil:
		return "", false
	}
	arg, ok := s.word(p.Exp.Word)
	switch {
	case !ok:
		return "", false
	case p.Exp.Op == syntax.RemSmallSuffix && arg == "/*" && known:
		return path.Dir(value), true
	case (p.Exp.Op == syntax.DefaultUnset || p.Exp.Op == syntax.DefaultUnsetOrNull) && !known:
		return arg, true
	}
	return value, known
}

// substitution knows $(dirname X), $(readlink -f X), $(realpath X) and $(cd X && pwd).
func (s *shellWords) substitution(p *syntax.CmdSubst) (string, bool) {
	if len(p.Stmts) != 1 {
		return "", false
	}
	cmd := p.Stmts[0].Cmd
	if both, ok := cmd.(*syntax.BinaryCmd); ok && both.Op == syntax.AndStmt {
		cmd = both.X.Cmd
	}
	c, ok := cmd.(*syntax.CallExpr)
	if !ok || len(c.Args) < 2 {
		return "", false
	}
	name, _ := s.word(c.Args[0])
	arg, ok := s.word(c.Args[len(c.Args)-1])
	switch {
	case !ok:
		return "", false
	case name == "dirname":
		return path.Dir(arg), true
	case name == "cd":
		return path.Clean(arg), true
	case name == "realpath", name == "readlink":
		file, err := s.canonical(arg)
		return file, err == nil
	}
	return "", false
}
