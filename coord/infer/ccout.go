package infer

import (
	"path"
	"strings"
)

// outputs says what the compiler writes. The rules are those of gcc 11 and later (its manual,
// "Overall Options", -dumpbase) and of clang 14, compared with both in the tests.
func (c *cc) outputs() {
	if c.output == "-" && c.mode != Preprocess {
		c.local("it writes to standard output by -o -")
		return
	}
	c.primary()
	for _, s := range c.sources {
		c.beside(s)
	}
	asm := c.assembler()
	if c.mode >= Assemble {
		for _, o := range asm.outputs {
			c.writes(Output{Path: o, Names: true})
		}
		if asm.prints {
			c.call.Prints = true
		}
	}
}

// primary says what -o names, or would.
func (c *cc) primary() {
	switch c.mode {
	case Preprocess:
		switch {
		case c.deps && c.depends:
			c.local("-M and -MD together are not modelled")
		case c.deps && c.depFile != "" && c.depFile != "-":
			c.writes(Output{Path: c.depFile})
			if c.named && c.output != "-" && !c.clang {
				c.writes(Output{Path: c.output})
			}
		case c.named && c.output != "-":
			c.writes(Output{Path: c.output})
		default:
			c.call.Prints = true
		}
	case Link:
		c.writes(Output{Path: c.target("a.out"), Run: !c.given("-r")})
	case Compile, Assemble:
		for _, s := range c.sources {
			c.writes(Output{Path: c.target(c.product(s))})
		}
	}
}

// target is the file of -o, or else a default.
func (c *cc) target(name string) string {
	if c.named {
		return c.output
	}
	return name
}

// product is what -c or -S make of a source without -o.
func (c *cc) product(s source) string {
	switch {
	case phases[s.language].header:
		return s.name + ".gch"
	case c.emit && c.mode == Compile:
		return stem(s.name) + ".ll"
	case c.emit:
		return stem(s.name) + ".bc"
	case c.mode == Compile:
		return stem(s.name) + ".s"
	}
	return stem(s.name) + ".o"
}

// beside says what is written beside the output for a source: dependencies, coverage notes,
// split debug information and the like.
func (c *cc) beside(s source) {
	p := phases[s.language]
	if c.depends && !c.deps && !p.preprocessed {
		c.dependencies(s)
	}
	if len(c.side) == 0 || c.call.Local != "" || c.mode == Preprocess || c.mode == Check {
		return
	}
	if p.header {
		c.local("a precompiled header with files beside it is not modelled")
		return
	}
	base := c.aux(s)
	add := func(suffix string) { c.writes(Output{Path: base + suffix}) }
	if c.has("coverage") || c.has("ftest-coverage") {
		if p.compiled && !(c.clang && c.output == "/dev/null") {
			add(".gcno")
		}
	}
	if c.has("gsplit-dwarf") {
		c.splitDwarf(s, add)
	}
	if c.has("fstack-usage") && p.compiled {
		if c.clang && c.mode == Link {
			c.local("-fstack-usage of clang while it links is not modelled")
		}
		add(".su")
	}
	if v, ok := c.side["fcallgraph-info"]; ok && p.compiled {
		if v != "" {
			c.local("-fcallgraph-info=%s is not modelled", v)
		}
		add(".ci")
	}
	if c.has("save-temps") {
		c.temps(s)
	}
}

func (c *cc) has(flag string) bool { _, ok := c.side[flag]; return ok }

// dependencies says where -MD writes.
func (c *cc) dependencies(s source) {
	switch {
	case c.depFile == "-":
		c.call.Prints = true
	case c.depFile != "":
		c.writes(Output{Path: c.depFile, Names: true})
	case c.output == "/dev/null":
		c.local("-MD would write beside /dev/null")
	case c.named && c.output != "-":
		c.writes(Output{Path: parent(c.output) + stem(c.output) + ".d", Names: true})
	case c.mode == Preprocess && !c.clang:
		c.local("-E with -MD but without -o and -MF is not modelled")
	default:
		c.writes(Output{Path: c.aux(s) + ".d", Names: true})
	}
}

// splitDwarf says where the .dwo of a source goes.
func (c *cc) splitDwarf(s source, add func(string)) {
	p := phases[s.language]
	switch v := c.side["gsplit-dwarf"]; {
	case v != "" && v != "split", c.has("gno-split-dwarf"):
		c.local("-gsplit-dwarf with a value, or taken back, is not modelled")
	case c.output == "/dev/null":
		c.local("-gsplit-dwarf would write beside /dev/null")
	case !p.compiled:
		c.local("-gsplit-dwarf of assembly is not modelled")
	case c.clang && (c.lto() || c.emit):
		c.local("-gsplit-dwarf of clang with -flto or -emit-llvm is not modelled")
	case c.clang && !c.debug: // gcc takes it for -g, clang does not
	case c.clang && c.mode == Compile:
		c.writes(Output{Path: stem(s.name) + ".dwo"})
	case c.mode >= Assemble:
		add(".dwo")
	}
}

// aux is the name, without suffix, of what is written beside the output for a source.
func (c *cc) aux(s source) string {
	base := stem(s.name)
	if strings.HasPrefix(path.Base(s.name), ".") || c.named && strings.HasPrefix(path.Base(c.output), ".") {
		c.local("files beside one whose name begins with a dot are not modelled")
	}
	switch {
	case c.clang && (c.mode == Link || !c.named):
		return base
	case c.output == "/dev/null":
		return base
	case c.mode != Link && c.named:
		return c.auxDir() + stem(c.output)
	case c.mode != Link:
		return base
	}
	out := path.Base(c.target("a.out"))
	if out == "a.out" {
		out = "a"
	}
	out = strings.TrimSuffix(out, ".exe")
	if len(c.sources)+c.inputs == 1 && out == base {
		return c.auxDir() + base
	}
	return c.auxDir() + out + "-" + base
}

// auxDir is the directory of aux, with its slash.
func (c *cc) auxDir() string {
	if c.side["save-temps"] == "cwd" {
		return ""
	}
	return parent(c.output)
}

// temps says what -save-temps keeps of a source.
func (c *cc) temps(s source) {
	p := phases[s.language]
	if !p.compiled || strings.HasPrefix(s.language, "objective") {
		c.local("-save-temps of %s is not modelled", s.language)
		return
	}
	var suffixes []string
	if !p.preprocessed {
		suffixes = append(suffixes, p.temp)
	}
	if c.mode >= Assemble {
		suffixes = append(suffixes, ".s")
	}
	if c.mode == Link {
		suffixes = append(suffixes, ".o")
	}
	base := c.aux(s)
	if c.clang {
		if p.preprocessed || c.lto() || c.emit {
			c.local("-save-temps of clang with these flags is not modelled")
		}
		suffixes = append(suffixes, ".bc")
		base = stem(s.name)
		if c.side["save-temps"] == "obj" {
			base = parent(c.output) + base
		}
	} else if c.mode == Link && (c.lto() || len(c.call.Reads) > 0) {
		c.local("-save-temps while linking objects or -flto is not modelled")
	}
	for _, x := range suffixes {
		c.writes(Output{Path: base + x})
	}
}

func (c *cc) lto() bool {
	for _, f := range c.unit.Flags {
		if strings.HasPrefix(f, "-flto") {
			return true
		}
	}
	return false
}
