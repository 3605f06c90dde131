package scan

import (
	"path/filepath"
	"strings"
)

// run reads what the compiler reads, in gcc's order (c_finish_options and
// push_command_line_include of c-opts.cc): macros of the command, -imacros, what the compiler
// includes by itself, -include, the source.
func (p *pass) run() {
	for _, m := range p.unit.Macros {
		p.command(m)
	}
	p.depth = 1 // the source is open already
	for _, name := range p.unit.Imacros {
		p.force(name)
	}
	for _, name := range p.probe.Implicit {
		k := lookupKey{name: name, start: p.chain.bracket}
		if a := p.find(k); a.path != "" {
			p.enter(a, frame{name: name})
		}
	}
	for _, name := range p.unit.Forced {
		p.force(name)
	}
	p.depth = 0
	path, ok := p.fold(p.unit.Dir, p.unit.Source)
	if o := p.open(path, filepath.Dir(path)); ok && o != nil {
		o.main = true
		p.enterFile(o, frame{name: p.unit.Source, index: besideIncluder, main: true})
		return
	}
	p.refuse("there is no source " + path)
}

// command carries out -D or -U.
func (p *pass) command(m Macro) {
	if m.Undefine {
		p.setMacro(p.c.names.id(m.Text), nil)
		return
	}
	name, body, given := strings.Cut(m.Text, "=")
	if !given {
		body = "1"
	}
	if strings.ContainsAny(m.Text, "\n\r") {
		p.refuse("-D with a newline")
		return
	}
	d := parseMacro(name+" "+body, p.c.names, p.probe.mode)
	if d.id == 0 {
		p.refuse("-D without a name")
		return
	}
	p.setMacro(d.id, d)
}

// force includes a file that the command names. It is looked for in the working directory first.
func (p *pass) force(name string) {
	if p.refused != "" {
		return
	}
	a := p.find(lookupKey{name: name, from: p.c.listing(filepath.Clean(p.unit.Dir))})
	if a.path == "" {
		p.refuse("not found: " + clip(name))
		return
	}
	if p.probe.clang && (exists(a.path+".pch") || exists(a.path+".gch")) {
		p.refuse("a precompiled header")
	}
	p.enter(a, frame{name: name, placed: filepath.IsAbs(name)})
}

// question returns where an include looks.
func (p *pass) question(name string, angle, next bool) lookupKey {
	at := p.at
	switch {
	case next && !at.main && !at.placed:
		if p.probe.clang && at.index == besideIncluder {
			p.refuse("#include_next in a file found beside its includer")
		}
		return lookupKey{name: name, start: at.index + 1}
	case angle:
		return lookupKey{name: name, start: p.chain.bracket}
	}
	return lookupKey{name: name, from: at.file.dir, system: at.system}
}

// hasInclude answers __has_include. The answer must be the same where the task runs.
func (p *pass) hasInclude(name string, angle, next bool) bool {
	a := p.find(p.question(name, angle, next))
	if a.path == "" || p.refused != "" {
		return false
	}
	o := p.found(a)
	if o == nil {
		return false
	}
	o.asked = true
	return true
}

// found opens what a lookup found.
func (p *pass) found(a *lookup) *opened {
	if a.precompiled {
		p.refuse("a precompiled header")
		return nil
	}
	o := p.open(a.path, filepath.Dir(a.path))
	if o == nil {
		p.refuse("gone while it was looked for: " + a.path)
		return nil
	}
	if a.link != "" {
		p.links[a.link] = true
	}
	return o
}

func (p *pass) enter(a *lookup, f frame) {
	if p.refused != "" {
		return
	}
	o := p.found(a)
	if o == nil {
		return
	}
	f.index = a.index
	f.system = f.up != nil && f.up.system || a.index >= 0 && p.chain.dirs[a.index].system
	if a.link != "" {
		f.short = a.path
	}
	p.enterFile(o, f)
}

// enterFile reads a file, unless it is one to be read once.
func (p *pass) enterFile(o *opened, f frame) {
	if o.once || p.refused != "" {
		return
	}
	if f.once {
		p.markOnce(o)
		if o.entered {
			return
		}
	}
	if !o.entered && p.readBefore(o, f.once) {
		return
	}
	if !o.entered {
		o.entered = true
		p.order = append(p.order, o)
		p.admit(o)
	}
	if p.entered++; p.entered > maxEntered {
		p.refuse("files are entered too often")
	}
	if p.depth >= maxDepth {
		p.refuse("includes nested too deeply")
	}
	if p.ctx.Err() != nil {
		p.refuse("canceled")
	}
	if p.refused != "" {
		return
	}
	f.file = o
	at := p.at
	p.at = &f
	p.depth++
	p.walk(o)
	p.depth--
	p.at = at
}

// admit refuses the unit if a file has something in it that is not understood here.
func (p *pass) admit(o *opened) {
	switch {
	case o.src.opaque != "":
		p.refuse(o.src.opaque + " in " + o.path)
	case o.src.trigraphs && p.probe.Traits["trigraph"]:
		p.refuse("trigraphs in " + o.path)
	case o.src.slashes && p.probe.c90:
		p.refuse("// in ISO C90 in " + o.path)
	}
}

// readBefore reports whether a file is another name of one that is to be read once. gcc compares
// size, time in seconds and bytes (has_unique_contents of libcpp), clang inodes.
func (p *pass) readBefore(o *opened, importing bool) bool {
	if !importing && len(p.onlyOnce) == 0 {
		return false
	}
	among := p.onlyOnce
	if importing {
		among = p.order
	}
	for _, other := range among {
		if other != o && p.alike(&other.stamp, &o.stamp) && (p.probe.clang || other.digest == o.digest) {
			o.asked = true
			return true
		}
	}
	return false
}

func (p *pass) alike(a, b *stamp) bool {
	const second = 1e9
	if p.probe.clang {
		return a.dev == b.dev && a.ino == b.ino
	}
	return a.size == b.size && a.mtime/second == b.mtime/second
}

func (p *pass) markOnce(o *opened) {
	if !o.once {
		o.once = true
		p.onlyOnce = append(p.onlyOnce, o)
	}
}

// walk runs a file's directives.
func (p *pass) walk(o *opened) {
	ds := o.src.directives
	var taken []bool // of each open conditional
	for i := 0; i < len(ds) && p.step(1); {
		d := &ds[i]
		i++
		last := len(taken) - 1
		switch d.kind {
		case ifExpr, ifDefined, ifUndefined:
			yes := p.test(d)
			if taken = append(taken, yes); !yes {
				i = int(d.next)
			}
		case elifExpr, elseGroup:
			if taken[last] || d.kind == elifExpr && !p.test(d) {
				i = int(d.next)
			} else {
				taken[last] = true
			}
		case endGroup:
			taken = taken[:last]
		default:
			p.perform(d)
		}
	}
}

func (p *pass) test(d *directive) bool {
	if d.expr == nil && d.id == 0 {
		p.refuse("#ifdef without a name") // an error, but in a group that is skipped
	}
	switch d.kind {
	case ifDefined:
		return p.macro(d.id) != nil
	case ifUndefined:
		return p.macro(d.id) == nil
	}
	return p.holds(d.expr)
}

// perform carries out a directive in a group that is not skipped.
func (p *pass) perform(d *directive) {
	switch d.kind {
	case define:
		p.setMacro(d.id, d.macro)
	case undefine:
		p.setMacro(d.id, nil)
	case once:
		p.markOnce(p.at.file)
	case systemHeader:
		p.at.system = p.at.system || !p.at.main
	case pushMacro:
		p.pushed[d.id] = append(p.pushed[d.id], p.macro(d.id))
	case popMacro:
		if s := p.pushed[d.id]; len(s) > 0 {
			p.setMacro(d.id, s[len(s)-1])
			p.pushed[d.id] = s[:len(s)-1]
		}
	case embed:
		p.refuse("#embed")
	default:
		p.include(d)
	}
}

func (p *pass) include(d *directive) {
	name, angle := d.arg, d.angle
	if d.expr != nil {
		var ok bool
		name, angle, ok = headerName(p.expand(d.expr.tokens(p.c.names), false, 0))
		if !ok {
			p.refuse("#include " + clip(d.expr.text))
			return
		}
	}
	a := p.find(p.question(name, angle, d.kind == includeNext))
	if a.path == "" {
		p.refuse("not found: " + clip(name)) // let the compiler say so
		return
	}
	p.enter(a, frame{name: name, up: p.at, placed: filepath.IsAbs(name), once: d.kind == importOnce})
}
