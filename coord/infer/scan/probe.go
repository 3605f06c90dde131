package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"
)

// A probe is what a compiler says for one set of flags: its built-in macros, the directories in
// which it looks, and which dialect it reads. No table here could know them.
type probe struct {
	probed
	key     string
	command *exec.Cmd // to copy for each question

	mode         lexMode
	cplus        bool
	clang        bool
	assembly     bool
	strict       bool // -std=c99 and its like, not gnu99
	c90          bool // strict, and // is no comment
	unsignedChar bool
	unsignedWide bool // wchar_t
	trueKnown    bool // in conditions

	mu      sync.Mutex // guards the fields below and probed.Answers
	unknown map[string]bool
}

// A probed is the part of a probe that is kept on disk.
type probed struct {
	Programs []program        // whose change makes this void
	Macros   []string         // what follows #define
	Builtins []string         // of the table builtins, what the compiler has
	Search   []string         // directories, those for <> only, as the compiler names them
	Ignored  []string         // directories that were not there; one that appears makes this void
	Implicit []string         // headers that it includes by itself, as #include <> would name them
	Traits   map[string]bool  // see traits
	Answers  map[string]int64 // to __has_builtin(...) and so on
}

// A program is an executable or a file of settings that a compiler consists of.
type program struct {
	Path                     string
	Dev, Inode               uint64
	Size, Mtime, Ctime, Mode int64
}

func programOf(path string) (program, error) {
	s, err := statPath(path)
	return program{path, s.dev, s.ino, s.size, s.mtime, s.ctime, int64(s.mode)}, err
}

// current reports whether the compiler is the one that was asked.
func (p *probed) current() bool {
	for _, was := range p.Programs {
		if is, err := programOf(was.Path); err != nil || is != was {
			return false
		}
	}
	return !slices.ContainsFunc(p.Ignored, exists) && len(p.Programs) > 0
}

// traits are tried out: each line of text leaves its macro defined or not.
var traits = map[string]string{
	"elifdef":   "#define gaggle_t\n#if 0\n#elifdef gaggle_t\n#define gaggle_elifdef\n#endif\n",
	"raw":       "#define gaggle_raw\nR\"(\n #undef gaggle_raw\n)\"\n",
	"separator": "#define gaggle_separator\n0'0 /*'\n#undef gaggle_separator\n/**/\n",
	"trigraph":  "#define gaggle_notrigraph\n??=undef gaggle_notrigraph\n",
	"digraph":   "%:define gaggle_digraph\n",
	"true":      "#if true\n#define gaggle_true\n#endif\n",
}

const probeTimeout = time.Minute // a compiler that starts takes 20 ms

// askCompiler runs the compiler for a unit's flags. Questions that other flags were asked come
// along.
func askCompiler(ctx context.Context, u *Unit, questions []string) (*probe, error) {
	p := &probe{command: u.preprocessor(), unknown: map[string]bool{}}
	var text strings.Builder
	for _, t := range traits {
		text.WriteString(t)
	}
	for name := range builtins {
		fmt.Fprintf(&text, "#ifdef %s\n#define gaggle_has_%s\n#endif\n", name, name)
	}
	questions = harmless(questions)
	for i, q := range questions {
		operator, _, _ := strings.Cut(q, "(")
		fmt.Fprintf(&text, "#ifdef %s\n", operator)
		poll(&text, i, q)
		text.WriteString("#endif\n")
	}
	out, messages, err := p.preprocess(ctx, text.String(), "-dD", "-v")
	if err != nil {
		return nil, err
	}
	if err := p.readMessages(messages, u); err != nil {
		return nil, err
	}
	p.readOutput(out)
	p.Answers = polled(out, questions)
	p.derive()
	return p, nil
}

// preprocessor returns the command that preprocesses standard input as the unit would be.
// Directories of the environment are left to chain, since the compiler does not tell of those
// that are not there yet.
func (u *Unit) preprocessor() *exec.Cmd {
	c := &exec.Cmd{Path: u.Compiler, Dir: u.probeDir(), Args: append([]string{u.Compiler}, u.probeFlags()...), Env: u.probeEnv()}
	c.Args = append(c.Args, "-E", "-x", u.Language, "-")
	return c
}

// probeFlags leaves out what differs between the units of a build and cannot matter.
func (u *Unit) probeFlags() []string {
	var flags []string
	for _, f := range u.Flags {
		if !strings.Contains(f, "-prefix-map=") && !strings.HasPrefix(f, "-frandom-seed=") {
			flags = append(flags, f)
		}
	}
	return flags
}

func (u *Unit) probeEnv() []string {
	env := []string{"LC_ALL=C"} // messages are read
	for _, e := range u.Env {
		name, _, _ := strings.Cut(e, "=")
		if name != "CPATH" && !strings.HasSuffix(name, "_INCLUDE_PATH") && !strings.HasPrefix(name, "LC_") && name != "LANG" {
			env = append(env, e)
		}
	}
	return env
}

// preprocess runs the compiler over text. Options stand before the others.
func (p *probe) preprocess(ctx context.Context, text string, options ...string) (out, messages string, err error) {
	const most = 16 << 20 // built-in macros are 20 kB
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	c := exec.CommandContext(ctx, p.command.Path)
	c.Args = slices.Concat(p.command.Args[:1], options, p.command.Args[1:])
	c.Dir, c.Env, c.Stdin, c.WaitDelay = p.command.Dir, p.command.Env, strings.NewReader(text), time.Second
	stdout, stderr := bounded{left: most}, bounded{left: most}
	c.Stdout, c.Stderr = &stdout, &stderr
	err = c.Run()
	if stdout.left < 0 || stderr.left < 0 {
		err = errors.New("the compiler says too much")
	}
	if err != nil {
		err = fmt.Errorf("asking %s: %w", p.command.Path, err)
	}
	return stdout.String(), stderr.String(), err
}

// bounded keeps what is written up to a bound.
type bounded struct {
	bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return len(p), nil
	}
	return b.Buffer.Write(p)
}

// readMessages takes programs and directories out of what -v prints.
func (p *probe) readMessages(text string, u *Unit) error {
	paths := []string{u.Compiler}
	angle := false
	for line := range strings.SplitSeq(text, "\n") {
		dir, listed := strings.CutPrefix(line, " ")
		switch {
		case line == "#include <...> search starts here:":
			angle = true
		case strings.HasPrefix(line, "End of search list"):
			angle = false
		case angle && strings.HasSuffix(line, "(framework directory)"):
			return errors.New("frameworks are not searched here")
		case angle && listed:
			p.Search = append(p.Search, strings.TrimSpace(dir))
		case strings.HasPrefix(line, "ignoring nonexistent directory"):
			p.Ignored = append(p.Ignored, u.path(between(line, `"`, `"`)))
		case strings.HasPrefix(line, "Reading specs from "), strings.HasPrefix(line, "Configuration file: "):
			_, path, _ := strings.Cut(line, " /")
			paths = append(paths, "/"+path)
		case listed && len(paths) == 1:
			if part := strings.Trim(strings.Fields(dir + " .")[0], `"`); filepath.IsAbs(part) {
				paths = append(paths, part) // cc1
			}
		}
	}
	if len(p.Search) == 0 && !slices.Contains(u.Flags, "-nostdinc") {
		return fmt.Errorf("%s names no directories that it searches", u.Compiler)
	}
	for _, path := range paths {
		prog, err := programOf(path)
		if err != nil {
			return err
		}
		p.Programs = append(p.Programs, prog)
	}
	return nil
}

func (u *Unit) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(u.Dir, name)
}

func between(s, begin, end string) string {
	_, s, _ = strings.Cut(s, begin)
	s, _, _ = strings.Cut(s, end)
	return s
}

// readOutput takes macros and headers out of what -dD prints. Line markers tell where each
// comes from: <built-in>, <command-line>, a header that is included always, <stdin>.
func (p *probe) readOutput(text string) {
	place := "<built-in>"
	tried := map[string]bool{}
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "# ") {
			if name := between(line, `"`, `"`); name != place {
				place = name
				p.noteImplicit(place)
			}
			continue
		}
		def, isDef := strings.CutPrefix(line, "#define ")
		undef, isUndef := strings.CutPrefix(line, "#undef ")
		switch {
		case place == "<stdin>" && isDef:
			tried[leadingName(def)] = true
		case place == "<stdin>" && isUndef:
			delete(tried, leadingName(undef))
		case strings.HasPrefix(place, "<") && isDef:
			p.Macros = append(p.Macros, def)
		case strings.HasPrefix(place, "<") && isUndef:
			p.Macros = slices.DeleteFunc(p.Macros, func(d string) bool { return leadingName(d) == leadingName(undef) })
		}
	}
	p.Traits = map[string]bool{}
	for t := range traits {
		p.Traits[t] = tried["gaggle_"+t]
	}
	p.Traits["trigraph"] = !tried["gaggle_notrigraph"]
	for name := range builtins {
		if tried["gaggle_has_"+name] {
			p.Builtins = append(p.Builtins, name)
		}
	}
	sort.Strings(p.Builtins)
}

func (p *probe) noteImplicit(path string) {
	for _, dir := range p.Search {
		if name, ok := strings.CutPrefix(path, dir+"/"); ok && !slices.Contains(p.Implicit, name) {
			p.Implicit = append(p.Implicit, name)
			return
		}
	}
}

// derive sets what follows from what was probed.
func (p *probe) derive() {
	value := map[string]string{}
	for _, m := range p.Macros {
		name, v, _ := strings.Cut(m, " ")
		value[name] = v
	}
	has := func(name string) bool { _, ok := value[name]; return ok }
	for t, bit := range map[string]lexMode{"raw": lexRaw, "separator": lexSeparator, "digraph": lexDigraph, "elifdef": lexElifdef} {
		if p.Traits[t] {
			p.mode |= bit
		}
	}
	p.cplus, p.clang, p.assembly = has("__cplusplus"), has("__clang__"), has("__ASSEMBLER__")
	p.strict, p.unsignedChar, p.unsignedWide = has("__STRICT_ANSI__"), has("__CHAR_UNSIGNED__"), has("__WCHAR_UNSIGNED__")
	p.c90 = p.strict && !p.cplus && (!has("__STDC_VERSION__") || strings.HasPrefix(value["__STDC_VERSION__"], "1994"))
	p.trueKnown = p.Traits["true"]
}

// tooOld names a compiler that reads __VA_OPT__ otherwise, or not, and was never tried; or "".
func (p *probe) tooOld() string {
	major := 0
	for _, m := range p.Macros {
		name, v, _ := strings.Cut(m, " ")
		if name == "__clang_major__" || name == "__GNUC__" && !p.clang {
			_, _ = fmt.Sscan(v, &major)
		}
	}
	if p.clang && major < 12 || !p.clang && major < 8 {
		return fmt.Sprintf("a compiler older than gcc 8 or clang 12 (version %d)", major)
	}
	return ""
}
