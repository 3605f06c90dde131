package infer

import (
	"path"
	"slices"
	"strings"
)

// Roles of an archiver's flags.
const (
	arThin role = own + iota
)

var arFlags = table{}.
	add(alone, pass, "-X32_64").
	add(alone, arThin, "--thin").
	add(equal|apart, reads, "--plugin").
	add(equal|apart, pass, "--target --record-libdeps --format --rsp-quoting").
	add(alone, question, "--version --help -V -h").
	refuse(equal|apart, "it names a directory for what is taken out", "--output").
	refuse(alone, "a script in MRI's language comes from standard input", "-M")

// An archiver is a call of ar while it is read.
type archiver struct {
	*reader
	operation byte // of "dmpqrstx"
	modifiers string
	rest      []string
	thin      bool
}

// ar takes a call of ar apart: the first word has the operation and its modifiers, with or
// without a dash; more of them may come in words with a dash.
func (r *reader) ar() {
	a := &archiver{reader: r}
	r.call.Mode = Archive
	r.keepEnv("SOURCE_DATE_EPOCH")
	words := r.words
	for first := true; len(words) > 0 && r.call.Local == ""; {
		w := words[0]
		switch u, ok := arFlags.find(words); {
		case ok:
			if !r.common(u) {
				a.thin = true
			}
			words = words[len(u.words):]
			continue
		case strings.HasPrefix(w, "--"):
			r.unknown(w)
		case first || strings.HasPrefix(w, "-") && len(w) > 1:
			first = false
			a.letters(strings.TrimPrefix(w, "-"))
		default:
			a.rest = append(a.rest, w)
		}
		words = words[1:]
	}
	if r.call.Local == "" {
		a.run()
	}
}

func (a *archiver) letters(s string) {
	for i := range len(s) {
		c := s[i]
		switch {
		case strings.IndexByte("dmpqrtx", c) >= 0:
			if a.operation != 0 && a.operation != c {
				a.local("it has two operations, %c and %c", a.operation, c)
			}
			a.operation = c
		case strings.IndexByte("abciDfNoOPsSTuUvl", c) >= 0:
			a.modifiers += s[i : i+1]
		case c == 'M':
			a.local("a script in MRI's language comes from standard input")
		default:
			a.local("%c is no operation or modifier of %s that is known here", c, a.name)
		}
	}
}

func (a *archiver) has(modifiers string) bool { return strings.ContainsAny(a.modifiers, modifiers) }

func (a *archiver) run() {
	if a.operation == 0 && a.has("s") {
		a.operation = 's'
	}
	if a.has("l") && a.operation != 'r' && a.operation != 'q' {
		a.local("the modifier l takes a word along in some versions of ar")
	}
	if a.has("abi") && len(a.rest) > 0 {
		a.rest = a.rest[1:] // the member before or behind which others go
	}
	switch {
	case a.has("N"):
		a.local("the modifier N is not modelled")
	case a.has("U"):
		a.local("the modifier U records times and owners of files")
	case a.has("l"):
		a.local("the modifier l takes a word along in some versions of ar")
	case len(a.rest) == 0:
		a.local("it names no archive")
	}
	if a.call.Local != "" {
		return
	}
	archive, members := a.rest[0], a.rest[1:]
	switch a.operation {
	case 'r', 'q':
		a.update(archive, members)
	case 'd', 'm':
		a.update(archive, nil)
	case 's':
		for _, x := range a.rest {
			a.update(x, nil)
		}
	case 't', 'p':
		a.call.Mode, a.call.Prints = List, true
		a.old(archive)
	case 'x':
		a.extract(archive, members)
	default:
		a.local("it names no operation")
	}
}

// update says what changing an archive reads and writes.
func (a *archiver) update(archive string, members []string) {
	old := a.exists(archive)
	thin := a.thin || a.has("T")
	if old {
		was, ok := a.old(archive)
		if !ok {
			return
		}
		if a.has("u") && !a.timeless(archive) {
			a.local("the modifier u goes by the times of files")
			return
		}
		thin = thin || was
	} else if a.operation != 'r' && a.operation != 'q' {
		a.local("the archive %s is not there", archive)
		return
	}
	for _, m := range members {
		if !a.file(m) {
			a.local("%s is not there", m)
			return
		}
		a.readsFile(m)
	}
	a.writes(Output{Path: archive, InPlace: old, Thin: thin})
}

// old looks into an archive that is there. The members of a thin one, which are files, are read as
// well, even to list them.
func (a *archiver) old(archive string) (thin, ok bool) {
	if !a.file(archive) {
		a.local("the archive %s is not there", archive)
		return false, false
	}
	a.readsFile(archive)
	magic, _, err := a.head(archive, int64(len(thinMagic)))
	if err != nil || string(magic) != thinMagic {
		return false, true // one that is not made yet is thin if it was made so: see Output.Thin
	}
	f, err := a.files.Open(a.at(archive))
	if err != nil {
		a.local("the archive %s cannot be read", archive)
		return true, false
	}
	defer f.Close()
	members, err := thinMembers(f)
	if err != nil {
		a.local("the archive %s %v", archive, err)
		return true, false
	}
	for _, m := range members {
		a.readsFile(join(parent(archive), m))
	}
	return true, true
}

// timeless tells whether an archive records no times, as is usual today: then the modifier u
// replaces all that is named.
func (a *archiver) timeless(archive string) bool {
	f, err := a.files.Open(a.at(archive))
	if err != nil {
		return false
	}
	defer f.Close()
	members, err := archiveMembers(f)
	return err == nil && !slices.ContainsFunc(members, func(m member) bool { return m.time != "0" })
}

// extract says what is taken out of an archive: only if the members are named can that be said.
func (a *archiver) extract(archive string, members []string) {
	if len(members) == 0 {
		a.local("it takes out what only the archive knows")
		return
	}
	if a.has("P") || a.has("o") {
		a.local("x with these modifiers is not modelled")
		return
	}
	if _, ok := a.old(archive); !ok {
		return
	}
	a.call.Mode = Change
	for _, m := range members {
		a.writes(Output{Path: path.Base(m)})
	}
	if a.has("v") {
		a.call.Prints = true
	}
}

var ranlibFlags = table{}.
	add(alone, pass, "-D -X32_64").
	add(equal|apart, reads, "--plugin").
	add(alone, question, "--version --help -v -V -h -H").
	refuse(alone, "it records times of files", "-U -t")

// ranlib takes a call of ranlib apart: archives are changed in place.
func (r *reader) ranlib() {
	a := &archiver{reader: r, operation: 's'}
	r.call.Mode = Archive
	for words := r.words; len(words) > 0 && r.call.Local == ""; {
		u, ok := ranlibFlags.find(words)
		switch {
		case ok:
			r.common(u)
			words = words[len(u.words):]
			continue
		case strings.HasPrefix(words[0], "-"):
			r.unknown(words[0])
		default:
			a.rest = append(a.rest, words[0])
		}
		words = words[1:]
	}
	if len(a.rest) == 0 {
		r.local("it names no archive")
	}
	for _, x := range a.rest {
		a.update(x, nil)
	}
	r.keepEnv("SOURCE_DATE_EPOCH")
}
