package client

import (
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"gaggle/wire"
)

// lineWords is what a command line names.
type lineWords struct {
	tools []string // programs found on the search path
	files []string // other literal words, which may be files
}

// wrappers are commands whose arguments name commands.
var wrappers = []string{"env", "xargs", "nice", "nohup", "time", "timeout", "exec", "command", "find", "setsid", "stdbuf", "parallel", "sh", "bash"}

// commandWords finds the programs and the possible files in a shell text.
func commandWords(line, searchPath string) (*lineWords, error) {
	f, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(line), "command")
	if err != nil {
		return nil, wire.Errorf(wire.CauseInvalid, "quote it as for sh -c", "the command line is not a shell's: %v", err)
	}
	w := new(lineWords)
	tool := func(name string) bool {
		if strings.Contains(name, "/") || lookPath(name, searchPath) == "" {
			return false
		}
		if !slices.Contains(w.tools, name) {
			w.tools = append(w.tools, name)
		}
		return true
	}
	syntax.Walk(f, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.CallExpr:
			wrapper := false
			for i, arg := range n.Args {
				text, ok := literal(arg)
				if !ok {
					continue
				}
				if (i == 0 || wrapper) && tool(text) {
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
	tool("sh")
	return w, nil
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
