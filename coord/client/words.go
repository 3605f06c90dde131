package client

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"gaggle/sandbox/capture"
	"gaggle/wire"
)

// lineWords is what a command line names.
type lineWords struct {
	dir, path string // where it runs, and the search path

	tools []string // programs of this machine
	files []string // other literal words, which may be files
}

// wrappers are commands whose arguments name commands.
var wrappers = []string{"env", "xargs", "nice", "nohup", "time", "timeout", "exec", "command", "find", "setsid", "stdbuf", "parallel", "sh", "bash"}

// commandWords finds the programs and the possible files in a shell text that is run in dir.
func commandWords(line, dir, searchPath string) (*lineWords, error) {
	f, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(line), "command")
	if err != nil {
		return nil, wire.Errorf(wire.CauseInvalid, "quote it as for sh -c", "the command line is not a shell's: %v", err)
	}
	w := &lineWords{dir: dir, path: searchPath}
	syntax.Walk(f, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.CallExpr:
			wrapper := false
			for i, arg := range n.Args {
				text, ok := literal(arg)
				if !ok {
					continue
				}
				if (i == 0 || wrapper) && w.tool(text) {
					wrapper = wrapper || slices.Contains(wrappers, text)
					continue
				}
				wrapper = wrapper || i == 0 && slices.Contains(wrappers, text)
				w.files = append(w.files, text)
			}
		case *syntax.Redirect:
			if text, ok := literal(n.Word); ok && n.Op == syntax.RdrIn {
				w.files = append(w.files, text)
			}
		}
		return true
	})
	w.tool("sh")
	return w, w.missing(f)
}

// missing has programs looked for that the line starts in any case, whether they are there or not: the
// capture says of one that is not.
func (w *lineWords) missing(f *syntax.File) error {
	own := map[string]bool{}
	path := false // which is changed
	syntax.Walk(f, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.FuncDecl:
			own[n.Name.Value] = true
		case *syntax.Assign:
			path = path || n.Name != nil && n.Name.Value == "PATH"
		}
		return true
	})
	names, _ := certain(f.Stmts)
	for i, name := range names {
		switch {
		case own[name] || path || capture.Builtin(name) || slices.Contains(w.tools, name):
		case !strings.Contains(name, "/") || filepath.IsAbs(name) && !pathIn(name, w.dir):
			w.tools = append(w.tools, name)
		case i == 0: // what comes first has nobody to make it
			if _, err := os.Stat(absolute(w.dir, name)); err != nil {
				return wire.Errorf(wire.CauseInvalid, "go to where it is, or name it as it is called from here", "there is no program %s", absolute(w.dir, name))
			}
		}
	}
	return nil
}

// turns are commands after which a name may be something else, or is not reached.
var turns = []string{".", "source", "eval", "alias", "exec", "exit", "return", "export", "readonly"}

// certain returns the names of the programs that statements start whatever happens before, up to one after
// which that is not sure any more; then more is false.
func certain(stmts []*syntax.Stmt) (names []string, more bool) {
	for _, st := range stmts {
		var parts []*syntax.Stmt
		switch c := st.Cmd.(type) {
		case *syntax.CallExpr:
			if len(c.Args) == 0 {
				continue
			}
			name, ok := literal(c.Args[0])
			if !ok || slices.Contains(turns, name) {
				return names, false
			}
			names = append(names, name)
		case *syntax.BinaryCmd:
			switch c.Op {
			case syntax.OrStmt: // somebody asks whether it is there
				return names, false
			case syntax.AndStmt:
				parts = []*syntax.Stmt{c.X}
			default:
				parts = []*syntax.Stmt{c.X, c.Y}
			}
		case *syntax.Subshell:
			parts = c.Stmts
		case *syntax.Block:
			parts = c.Stmts
		case *syntax.FuncDecl:
		default: // which of its commands run is not known
			return names, false
		}
		in, more := certain(parts)
		if names = append(names, in...); !more {
			return names, false
		}
		if c, ok := st.Cmd.(*syntax.BinaryCmd); ok && c.Op == syntax.AndStmt {
			return names, false
		}
	}
	return names, true
}

// tool notes a program that the line starts, if it is one of this machine and not of dir. Of a
// script of dir the interpreter is one.
func (w *lineWords) tool(name string) bool {
	switch {
	case filepath.IsAbs(name):
		if !isProgram(name) || pathIn(name, w.dir) {
			return false
		}
	case strings.Contains(name, "/"):
		for _, t := range interpreter(filepath.Join(w.dir, name)) {
			w.tool(t)
		}
		return false
	case lookPath(name, w.path) == "":
		return false
	}
	if !slices.Contains(w.tools, name) {
		w.tools = append(w.tools, name)
	}
	return true
}

func isProgram(name string) bool {
	fi, err := os.Stat(name)
	return err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0
}

func pathIn(name, dir string) bool {
	rel, err := filepath.Rel(dir, name)
	return err == nil && filepath.IsLocal(rel)
}

// maxShebang is how much of a first line Linux reads (BINPRM_BUF_SIZE).
const maxShebang = 256

// interpreter returns what the first line of a script starts: a program, and with env another.
func interpreter(name string) (tools []string) {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxShebang))
	line, ok := strings.CutPrefix(string(b), "#!")
	if err != nil || !ok {
		return nil
	}
	line, _, _ = strings.Cut(line, "\n")
	words := strings.Fields(line)
	for i, word := range words {
		switch {
		case i > 0 && (filepath.Base(words[0]) != "env" || len(tools) > 1):
			return tools
		case i == 0 || !strings.HasPrefix(word, "-") && !strings.Contains(word, "="):
			tools = append(tools, word)
		}
	}
	return tools
}

// literal returns the text of a word without expansions.
func literal(w *syntax.Word) (string, bool) {
	if w == nil {
		return "", false
	}
	var b strings.Builder
	for _, p := range w.Parts {
		switch p := p.(type) {
		case *syntax.Lit:
			b.WriteString(strings.ReplaceAll(p.Value, `\`, ""))
		case *syntax.SglQuoted:
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			for _, q := range p.Parts {
				l, ok := q.(*syntax.Lit)
				if !ok {
					return "", false
				}
				b.WriteString(l.Value)
			}
		default:
			return "", false
		}
	}
	return b.String(), b.Len() > 0
}
