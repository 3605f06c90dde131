package infer

import "strings"

// Roles of an assembler's flags.
const (
	asOutput  role = own + iota // -o
	asDir                       // -I
	asFile                      // --MD
	asListing                   // -a[FLAGS][=FILE]
	asPrints
)

var asFlags = table{}.
	add(joined|apart, asOutput, "-o").
	add(joined|apart, asDir, "-I").
	add(equal|apart, asFile, "--MD").
	add(joined, asListing, "-a").
	add(alone, asListing, "-a").
	add(alone, pass, `
		-g --gstabs -O -M -D -f -J -K -L --keep-locals -R -W -X -Z -Qy -Qn --no-warn --warn --fatal-warnings
		--noexecstack --execstack --strip-local-absolute --traditional-format
		--reduce-memory-overheads --32 --64 --x32 -n -q -s -w -x --statistics-none --divide
		--hash-size-none -no-integrated-as -noexecstack --gdwarf-cie-version`).
	add(joined, pass, "-g --gstabs --gdwarf -m -O -E -M --em").
	add(equal|apart, pass, `
		--defsym --debug-prefix-map --hash-size --listing-lhs-width --listing-lhs-width2
		--listing-rhs-width --listing-cont-lines --gdwarf-cie-version --elf-stt-common
		--size-check --sectname-subst --generate-missing-build-notes --compress-debug-sections
		--multibyte-handling`).
	add(alone, pass, "--compress-debug-sections --nocompress-debug-sections --sectname-subst").
	add(alone, asPrints, "--statistics --dump-config").
	add(alone, question, "--version -version --help --target-help -v --dump-config")

// An asm is the command line of an assembler, or what a compiler has for its own.
type asm struct {
	inputs, dirs, outputs []string
	output                string
	prints                bool
}

// assembler reads the words that a compiler hands on.
func (c *cc) assembler() asm { return c.reader.assembler(c.as, true) }

// assembler reads an assembler's words. Those of a compiler may name no input and no output.
func (r *reader) assembler(words []string, driver bool) (a asm) {
	for len(words) > 0 && r.call.Local == "" {
		w := words[0]
		if !strings.HasPrefix(w, "-") && w != "" && !driver {
			a.inputs = append(a.inputs, w)
			words = words[1:]
			continue
		}
		u, ok := asFlags.find(words)
		if !ok || w == "--" || driver && u.role == asOutput {
			r.local("%q is no flag of an assembler that is known here", w)
			return a
		}
		words = words[len(u.words):]
		if r.common(u) {
			continue
		}
		switch u.role {
		case asOutput:
			a.output = u.value
		case asDir:
			a.dirs = append(a.dirs, u.value)
		case asFile:
			a.outputs = append(a.outputs, u.value)
		case asPrints:
			a.prints = true
		case asListing:
			if _, file, ok := strings.Cut(u.words[0], "="); ok {
				a.outputs = append(a.outputs, file)
			} else {
				a.prints = true
			}
		}
	}
	return a
}

// as takes a call of the assembler apart.
func (r *reader) as() {
	r.call.Mode = Assemble
	a := r.assembler(r.words, false)
	if a.output == "" {
		a.output = "a.out"
	}
	if len(a.inputs) == 0 {
		r.local("its source comes from standard input")
	}
	for _, in := range a.inputs {
		if !r.file(in) {
			r.local("the source %s is not there", in)
			return
		}
		r.readsFile(in)
		if !r.assembly(in, a.dirs) {
			return
		}
	}
	r.writes(Output{Path: a.output})
	for _, o := range a.outputs {
		r.writes(Output{Path: o, Names: true})
	}
	r.call.Prints = a.prints
	r.keepEnv("SOURCE_DATE_EPOCH")
}
