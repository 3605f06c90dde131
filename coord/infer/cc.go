package infer

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"gaggle/coord/infer/scan"
)

// A cc is the command line of a compiler driver while it is read.
type cc struct {
	*reader
	mode     Mode
	clang    bool
	cplus    bool // g++, clang++
	unit     scan.Unit
	language string // of -x, "" for by suffix
	sources  []source
	output   string // of -o
	named    bool   // there is -o

	deps    bool   // -M, -MM
	depends bool   // -MD, -MMD
	depFile string // -MF
	emit    bool   // -emit-llvm

	side       map[string]string // flags that make files beside the output, with their values
	profile    []use
	profileDir string   // -fprofile-dir
	debug      bool     // -g
	linker     []string // words for the linker, inputs among them
	inputs     int      // linker inputs that are files
	as         []string // words for the assembler
	pre        []string // words for the preprocessor, which stand behind the others
}

// A source is an input that is compiled.
type source struct{ name, language string }

// ccEnv are variables that compilers and what they start read; ccEnvRefused make them write more,
// or use other parts.
var (
	ccEnv = strings.Fields(`CPATH C_INCLUDE_PATH CPLUS_INCLUDE_PATH OBJC_INCLUDE_PATH
		OBJCPLUS_INCLUDE_PATH SOURCE_DATE_EPOCH GCC_COLORS PWD`)

	ccEnvRefused = strings.Fields(`DEPENDENCIES_OUTPUT SUNPRO_DEPENDENCIES COMPILER_PATH
		GCC_EXEC_PREFIX GCC_COMPARE_DEBUG GCC_ROOT CCC_OVERRIDE_OPTIONS CCC_ADD_ARGS
		CC_PRINT_OPTIONS CC_PRINT_HEADERS CC_LOG_DIAGNOSTICS CC_PRINT_PROC_STAT
		COLLECT_GCC_OPTIONS LDEMULATION GNUTARGET`)
)

func (r *reader) cc() {
	c := &cc{reader: r, clang: r.call.Model == "clang", side: map[string]string{}}
	c.cplus = strings.HasSuffix(r.name, "++")
	c.unit = scan.Unit{Dir: r.dir, Compiler: r.call.Tool}
	for _, n := range ccEnvRefused {
		if r.lookup(n) != "" {
			r.local("the variable %s changes what the compiler does", n)
			return
		}
	}
	flags := gccFlags
	if c.clang {
		flags = clangFlags
	}
	for words := r.words; len(words) > 0 && r.call.Local == ""; {
		words = words[c.word(flags, words):]
	}
	for words := c.pre; len(words) > 0 && r.call.Local == ""; {
		words = words[c.preprocessor(words):]
	}
	if r.call.Local == "" {
		c.finish()
	}
}

// word reads the first of the words, and tells how many it took.
func (c *cc) word(flags table, words []string) int {
	w := words[0]
	switch {
	case w == "-":
		c.local("its source comes from standard input")
		return 1
	case w == "":
		c.local("it has an empty word")
		return 1
	case w[0] != '-':
		c.input(w)
		return 1
	}
	u, ok := flags.find(words)
	if !ok {
		c.family(w)
		return 1
	}
	if u.value == "native" && strings.HasPrefix(u.name, "-m") {
		c.local("%s asks for the processor of the machine on which it runs", w)
	}
	if u.form&equal != 0 && strings.HasSuffix(w, "=") {
		c.local("%s has no value", w)
	}
	if !c.common(u) {
		c.flag(u)
	}
	return len(u.words)
}

// family weighs a flag that has no row.
func (c *cc) family(w string) {
	name, value, valued := strings.Cut(w, "=")
	switch {
	case !strings.HasPrefix(w, "-f") && !strings.HasPrefix(w, "-m") && !strings.HasPrefix(w, "-W") &&
		!strings.HasPrefix(w, "-O") && !strings.HasPrefix(w, "-g"):
		c.unknown(w)
	case valued && (value == "" || c.looksLikeFile(value)):
		c.local("%s may name a file, and is no flag that is known here", name)
	case w[1] == 'g':
		c.debug = c.debug && strings.HasPrefix(w, "-gno-") || w != "-g0" && !strings.HasPrefix(w, "-gno-")
	case w[1] != 'W' && !strings.HasPrefix(w, "-fdiagnostics"):
		c.unit.Flags = append(c.unit.Flags, w)
	}
}

// flag takes a flag that has a role.
func (c *cc) flag(u use) {
	switch u.role {
	case ccMode:
		c.setMode(u.name)
	case ccOutput:
		if c.named {
			c.local("it has more than one -o")
		}
		c.output, c.named = u.value, true
	case ccLanguage:
		if c.language = u.value; u.value == "none" {
			c.language = ""
		} else if _, ok := phases[u.value]; !ok {
			c.local("the language %s is not modelled", u.value)
		}
	case ccMacro, ccDir, ccForced, ccImacros, ccDepend, ccDepFile:
		c.preprocess(u)
	case ccProbe:
		c.unit.Flags = append(c.unit.Flags, u.words...)
	case ccSysroot:
		c.unit.Flags = append(c.unit.Flags, u.words...)
		if u.name == "--sysroot" || c.call.Sysroot == "" {
			c.call.Sysroot = u.value
		}
	case ccSpecs:
		c.specs(u)
	case ccLink, ccLinkWords, ccLinkWord:
		c.forLinker(u)
	case ccAsWords:
		c.as = append(c.as, strings.Split(u.value, ",")...)
	case ccAsWord:
		c.as = append(c.as, u.value)
	case ccPreWords:
		c.pre = append(c.pre, strings.Split(u.value, ",")...)
	case ccPreWord:
		c.pre = append(c.pre, u.value)
	case ccSide:
		c.side[strings.TrimLeft(u.name, "-")] = u.value
	case ccSideFile:
		c.writes(Output{Path: u.value})
	case ccProfileDir:
		c.profileDir = u.value
	case ccProfile:
		c.profile = append(c.profile, u)
	case ccDump:
		if strings.Trim(u.value, "DNIMUPpA") != "" {
			c.local("%s leaves dumps that only a run tells", u.words[0])
		}
	case ccOptInfo:
		if strings.Contains(u.value, "=") {
			c.local("%s writes notes into a file", u.words[0])
		}
	case ccEmitLLVM:
		c.emit = true
	}
}

// preprocess takes a flag that concerns the preprocessor.
func (c *cc) preprocess(u use) {
	n := &c.unit
	switch u.role {
	case ccMacro:
		n.Macros = append(n.Macros, scan.Macro{Undefine: u.name == "-U", Text: u.value})
	case ccDir:
		list := map[string]*[]string{"-I": &n.Include, "-iquote": &n.Quote,
			"-isystem": &n.System, "-idirafter": &n.After}[u.name]
		*list = append(*list, u.value)
		if strings.HasPrefix(u.value, "=") || strings.HasPrefix(u.value, "$SYSROOT") {
			c.local("%s is meant within the sysroot, which is not modelled", strings.Join(u.words, " "))
		}
	case ccForced:
		n.Forced = append(n.Forced, u.value)
	case ccImacros:
		n.Imacros = append(n.Imacros, u.value)
	case ccDepend:
		c.depends = true
	case ccDepFile:
		c.depFile = u.value
	default:
		c.local("%s is not modelled where it stands", u.words[0])
	}
}

// preprocessor reads words of -Wp and -Xpreprocessor. There -MD and -MMD take a file.
func (c *cc) preprocessor(words []string) int {
	w := words[0]
	if w == "-MD" || w == "-MMD" {
		if len(words) < 2 || c.clang && len(words) > 2 || strings.HasPrefix(words[1], "-") {
			c.local("-Wp,%s without a file, or with more, is not modelled", w)
			return len(words)
		}
		c.depends, c.depFile = true, words[1]
		return 2
	}
	u, ok := ccFlags.find(words)
	switch {
	case ok && (u.role >= ccMacro && u.role <= ccImacros || u.role == ccDepFile && !c.clang):
		c.preprocess(u)
	case ok && u.role == pass && strings.HasPrefix(u.name, "-M"):
	default:
		c.local("%s for the preprocessor is not modelled", w)
	}
	if !ok {
		return 1
	}
	return len(u.words)
}

// setMode keeps the first step of those named, as drivers do.
func (c *cc) setMode(name string) {
	m := map[string]Mode{"-c": Assemble, "-S": Compile, "-fsyntax-only": Check,
		"-E": Preprocess, "-M": Preprocess, "-MM": Preprocess}[name]
	if name == "-M" || name == "-MM" {
		c.deps = true
	}
	if c.mode == 0 || m < c.mode {
		c.mode = m
	}
}

// forLinker keeps what the linker gets, in order.
func (c *cc) forLinker(u use) {
	switch u.role {
	case ccLinkWords:
		c.linker = append(c.linker, strings.Split(u.value, ",")...)
	case ccLinkWord:
		c.linker = append(c.linker, u.value)
	default:
		if u.words[0] == "-static-pie" {
			c.linker = append(c.linker, "-static")
			return
		}
		c.linker = append(c.linker, u.words...)
	}
}

// input sorts a word that is no flag into sources and what only the linker reads.
func (c *cc) input(name string) {
	lang := c.language
	if lang == "" {
		lang = languages[path.Ext(name)]
		if c.cplus {
			switch lang {
			case "c", "c-header", "cpp-output":
				lang = strings.Replace("c++"+strings.TrimPrefix(lang, "c"), "c++pp", "c++-cpp", 1)
			}
		}
		if ext := path.Ext(name); c.clang && (ext == ".bc" || ext == ".ll") {
			c.local("%s is LLVM's own code, which is not modelled", name)
		}
	}
	if lang == "" {
		c.linker = append(c.linker, name)
		c.inputs++
		return
	}
	if _, ok := phases[lang]; !ok {
		c.local("%s is written in %s, which is not modelled", name, lang)
		return
	}
	c.sources = append(c.sources, source{name, lang})
}

// specsThatReach are specs that bring in files, call functions or replace what is run.
var specsThatReach = regexp.MustCompile(`%include|%:|\*link_command`)

// specs reads a file of driver specs, if it is none of the compiler's own: one that stays within
// flags is harmless, others may start anything.
func (c *cc) specs(u use) {
	c.unit.Flags = append(c.unit.Flags, u.words...)
	if !c.file(u.value) {
		if strings.Contains(u.value, "/") {
			c.local("the specs %s are not there", u.value)
		}
		return
	}
	text, more, err := c.head(u.value, 64<<10)
	if err != nil || more || specsThatReach.Match(text) {
		c.local("the specs %s may change anything", u.value)
	}
	c.readsFile(u.value)
}

// finish says what follows from all the words.
func (c *cc) finish() {
	if c.mode == 0 {
		c.mode = Link
	}
	header := slices.ContainsFunc(c.sources, func(s source) bool { return phases[s.language].header })
	if header && c.mode == Link {
		c.mode = Assemble
	}
	if header && c.mode == Assemble {
		c.opaque("a precompiled header has the times of headers in it")
	}
	c.call.Mode = c.mode
	env := c.keepEnv(ccEnv...)
	switch {
	case len(c.sources) == 0 && c.inputs == 0:
		c.local("it names no input")
		return
	case len(c.sources) == 0 && c.mode != Link:
		c.local("it has nothing to compile")
		return
	case c.inputs > 0 && c.mode != Link:
		c.local("it names inputs of a link, and does not link")
		return
	case header && (len(c.sources) > 1 || c.inputs > 0 || c.mode == Compile):
		c.local("headers among other inputs are not modelled")
		return
	case c.named && len(c.sources) > 1 && c.mode != Link && c.mode != Check:
		c.local("it has one -o for several outputs")
		return
	}
	c.unit.Env = c.probed(env)
	for _, s := range c.sources {
		c.source(s)
	}
	c.passes()
	c.outputs()
	if c.mode == Link && c.call.Local == "" {
		c.link()
	}
}

// passes notes that gcc compiles C++, whose compiler proper belongs to g++.
func (c *cc) passes() {
	if c.clang || c.cplus || !slices.ContainsFunc(c.sources, func(s source) bool { return strings.HasPrefix(s.language, "c++") }) {
		return
	}
	file, err := c.files.Resolve(c.call.Tool)
	if err != nil {
		c.local("%s cannot be found", c.call.Tool)
		return
	}
	base := path.Base(file)
	at := strings.LastIndex(base, "gcc")
	if at < 0 {
		c.opaque("%s compiles C++ by parts that are not followed", c.call.Tool)
		return
	}
	c.call.Starts = append(c.call.Starts, base[:at]+"g++"+base[at+len("gcc"):])
}

// source notes what a source reads.
func (c *cc) source(s source) {
	if !c.file(s.name) && s.name != "/dev/null" {
		c.local("the source %s is not there", s.name)
		return
	}
	c.profiles(s)
	asm := c.assembler()
	if phases[s.language].preprocessed {
		c.readsFile(s.name)
		if !c.assembly(s.name, append(slices.Clone(c.unit.Include), asm.dirs...)) {
			return
		}
		return
	}
	u := c.unit
	u.Source, u.Language = s.name, strings.TrimSuffix(s.language, "-header")
	c.call.Units = append(c.call.Units, u)
}

// probed adds what a probe of the compiler needs to the variables kept: its own and the locale.
func (c *cc) probed(kept []string) []string {
	all := slices.Clone(kept)
	for _, e := range c.env {
		name, _, _ := strings.Cut(e, "=")
		if name == "PATH" || name == "LANG" || strings.HasPrefix(name, "LC_") {
			all = append(all, e)
		}
	}
	return all
}
