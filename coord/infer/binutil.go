package infer

import "strings"

// Roles of the flags of strip, objcopy and nm.
const (
	biOutput  role = own + iota // -o of strip
	biReads                     // SECTION=FILE: the file is read
	biWrites                    // SECTION=FILE: the file is written
	biListing                   // -l: reads the debug information of others
)

var stripFlags = table{}.
	add(joined|apart, biOutput, "-o").
	add(equal|apart, biOutput, "--output").
	add(joined|apart, pass, "-F -I -O -K -N -R").
	add(equal|apart, pass, `
		--target --input-target --output-target --keep-symbol --strip-symbol --remove-section
		--keep-section --remove-relocations`).
	add(alone, pass, `
		-s -S -g -d -x -X -w -D -M --strip-all --strip-debug --strip-unneeded --strip-dwo
		--discard-all --discard-locals --wildcard --enable-deterministic-archives --merge-notes
		--no-merge-notes --only-keep-debug --keep-file-symbols
		--keep-section-symbols --strip-all-gnu --no-strip-all`).
	add(alone, question, "--version --help -V -h -v --verbose --info").
	refuse(alone, "it records times of files", "-U --disable-deterministic-archives").
	refuse(alone, "it keeps the time of a file", "-p --preserve-dates")

var objcopyFlags = table{}.
	add(joined|apart, pass, "-F -I -O -B -K -N -L -G -W -j -R -b -i").
	add(equal|apart, pass, `
		--target --input-target --output-target --binary-architecture --keep-symbol
		--strip-symbol --localize-symbol --globalize-symbol --keep-global-symbol --weaken-symbol
		--strip-unneeded-symbol --remove-section --keep-section --only-section
		--remove-relocations --redefine-sym --rename-section --set-section-flags
		--set-section-alignment --add-symbol --prefix-symbols --prefix-sections
		--prefix-alloc-sections --change-section-address --change-section-lma
		--change-section-vma --adjust-section-vma --change-addresses --adjust-vma --change-start
		--adjust-start --set-start --gap-fill --pad-to --byte --interleave-width --srec-len
		--alt-machine-code --section-alignment --file-alignment --image-base --heap --stack
		--subsystem --reverse-bytes --verilog-data-width`).
	add(equal, pass, "--interleave --compress-debug-sections --elf-stt-common").
	add(alone, pass, `
		-S -g -x -X -w -D -M --strip-all --strip-debug --strip-unneeded --strip-dwo
		--extract-dwo --only-keep-debug --discard-all --discard-locals --wildcard --weaken
		--enable-deterministic-archives --merge-notes --no-merge-notes
		--compress-debug-sections --decompress-debug-sections --localize-hidden --srec-forceS3
		--debugging --keep-file-symbols --keep-section-symbols --writable-text --readonly-text
		--pure --impure --remove-leading-char --no-change-warnings --no-adjust-warnings
		--change-warnings --interleave`).
	add(equal|apart, reads, `
		--keep-symbols --strip-symbols --strip-unneeded-symbols --localize-symbols
		--globalize-symbols --keep-global-symbols --weaken-symbols --redefine-syms
		--rename-sections --add-gnu-debuglink`).
	add(equal|apart, biReads, "--add-section --update-section").
	add(equal|apart, biWrites, "--dump-section").
	add(alone, question, "--version --help -V -h -v --verbose --info").
	refuse(alone, "it records times of files", "-U --disable-deterministic-archives").
	refuse(alone, "it keeps the time of a file", "-p --preserve-dates").
	refuse(equal|apart, "what it writes beside the output is not modelled", "--split-dwo")

var nmFlags = table{}.
	add(alone, pass, `
		-a -A -o -B -C -D -e -g -n -v -p -P -r -S -s -u -U -W -j --debug-syms --print-file-name
		--demangle --no-demangle --dynamic --extern-only --numeric-sort --no-sort --portability
		--reverse-sort --print-size --print-armap --undefined-only --defined-only --size-sort
		--special-syms --synthetic --with-symbol-versions --without-symbol-versions --quiet
		--no-weak --just-symbols --recurse-limit --no-recurse-limit`).
	add(joined|apart, pass, "-t -f -X").
	add(equal|apart, pass, "--radix --format --target --ifunc-chars --unicode").
	add(equal, pass, "--demangle").
	add(equal|apart, reads, "--plugin").
	add(alone, question, "--version --help -V -h").
	refuse(alone, "it looks for debug information and sources elsewhere", `
		-l --line-numbers --inlines -i`)

// binutil takes a call of strip, objcopy or nm apart.
func (r *reader) binutil(kind string) {
	flags := map[string]table{"strip": stripFlags, "objcopy": objcopyFlags, "nm": nmFlags}[kind]
	var inputs []string
	output, named := "", false
	for words := r.words; len(words) > 0 && r.call.Local == ""; {
		w := words[0]
		if w == "" || w == "-" || w == "--" {
			r.local("%q among its words is not modelled", w)
			return
		}
		if w[0] != '-' {
			inputs = append(inputs, w)
			words = words[1:]
			continue
		}
		u, ok := flags.find(words)
		if !ok && kind == "nm" && nmLetters(w) {
			words = words[1:]
			continue
		}
		if !ok {
			r.unknown(w)
			return
		}
		words = words[len(u.words):]
		if r.common(u) {
			continue
		}
		_, file, _ := strings.Cut(u.value, "=")
		switch u.role {
		case biOutput:
			output, named = u.value, true
		case biReads:
			if file == "-" || file == "" {
				r.local("%s names no file", strings.Join(u.words, " "))
			}
			r.readsFile(file)
		case biWrites:
			r.writes(Output{Path: file})
		}
	}
	for _, in := range r.call.Reads {
		if !r.file(in) {
			r.local("%s is not there", in)
			return
		}
	}
	r.keepEnv("SOURCE_DATE_EPOCH")
	switch kind {
	case "nm":
		r.list(inputs)
	case "objcopy":
		if len(inputs) == 2 {
			output, named, inputs = inputs[1], true, inputs[:1]
		} else if len(inputs) != 1 {
			r.local("objcopy takes one input and one output")
		}
		fallthrough
	default:
		r.changed(inputs, output, named)
	}
}

// nmLetters tells whether a word is flags without operand, written together.
func nmLetters(w string) bool { return len(w) > 1 && strings.Trim(w[1:], "aABCDegnoprPSsuvW") == "" }

// list says what nm reads.
func (r *reader) list(inputs []string) {
	r.call.Mode, r.call.Prints = List, true
	if len(inputs) == 0 {
		inputs = []string{"a.out"}
	}
	a := &archiver{reader: r}
	for _, in := range inputs {
		a.old(in)
	}
}

// changed says what strip and objcopy do: without an output, inputs are changed in place.
func (r *reader) changed(inputs []string, output string, named bool) {
	r.call.Mode = Change
	if len(inputs) == 0 {
		inputs = []string{"a.out"}
	}
	if named && len(inputs) > 1 {
		r.local("it has one output for several inputs")
	}
	a := &archiver{reader: r}
	for _, in := range inputs {
		thin, ok := a.old(in)
		if !ok {
			return
		}
		if thin {
			r.local("a thin archive is changed by changing its members, which is not modelled")
			return
		}
		if named {
			o := Output{Path: output}
			if r.llvm { // binutils make it executable if it is a program, whatever it was made of
				o.Like = in
			}
			r.writes(o)
		} else {
			r.writes(Output{Path: in, InPlace: true})
		}
	}
}
