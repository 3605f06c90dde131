// Package infer takes the command lines of compilers, assemblers, linkers and archivers apart:
// what a call reads, what it writes, and whether that can be said at all. It runs nothing. What
// sources include is found by package scan, to which a Call hands its units.
//
// # How flags are classified
//
// A tool has hundreds of flags and gets new ones with each release; a list of them would be
// wrong soon. What matters of a flag is only whether it names an input, an output or a directory
// that is searched, whether it takes the next word along, and whether it changes what the tool
// does. Flags of that kind have a row in a table (ccflags.go, ldflags.go ...), with the role
// they play; all others pass through unseen. For these, the rules are:
//
//  1. A flag of a family whose members take no word along and only tune a tool (-f, -m, -W, -O,
//     -g of compilers) passes if it has no value, or a value that cannot be taken for the name
//     of a file: without slash and dot, and of nothing that exists.
//  2. Any other unknown flag makes the call local, as does a known flag whose files depend on
//     what only a run tells (-fdump-*, ar -M).
//  3. Files whose names follow from other names (.d, .dwo, .gcno, .su) are told by the tool's own
//     rules, which differ between gcc and clang. A case whose rule was not compared with the real
//     tool is local.
//
// So an answer is never a guess: a Call without Local says everything the tool reads and writes
// outside of its own installation and /tmp, and the tests compare that with what tools do.
package infer

import "gaggle/coord/infer/scan"

// A Mode is what a call is for: of a compiler, the last step that it takes.
type Mode int

// The modes. The zero Mode is of a call that is not modelled, or that only asks something.
const (
	Preprocess Mode = iota + 1 // cc -E, -M
	Check                      // cc -fsyntax-only
	Compile                    // cc -S: to assembly
	Assemble                   // cc -c, as: to an object; also a header that is precompiled
	Link
	Archive // ar, ranlib
	Change  // strip, objcopy
	List    // nm, ar t: prints what a file holds
	User    // of a user's model
)

var modeNames = [...]string{"none", "preprocess", "check", "compile", "assemble", "link", "archive",
	"change", "list", "user"}

func (m Mode) String() string { return modeNames[m] }

// A Call is a tool's command line, taken apart. Paths are as the command line names them, so a
// relative one is meant from Dir; what was found by searching is the directory as named, a slash
// and the name.
type Call struct {
	Tool  string // absolute path of the program
	Model string // who answers: "gcc", "clang", "as", "ld", "ar" ..., or the name in a user's model
	Mode  Mode
	Dir   string // working directory, absolute

	// Local says, in words for the user, why the call must run where it was made, as it is:
	// because it cannot be modelled or is a mere question. If it is not empty, all below are.
	Local string

	// Units are the sources whose includes have to be scanned; a unit's source is read as well.
	Units []scan.Unit
	// Reads are all other files that it reads, none twice: objects, libraries, archives and the
	// members of thin ones, scripts, response files.
	Reads []string
	// Absent are names at which a tool looks in vain before it finds a file or gives up, so that
	// one that appears there is noticed.
	Absent []string
	// Wants are libraries that none of the named directories has: they are the toolchain's, or
	// missing.
	Wants []Want
	// Needs are the names of libraries that shared libraries need in turn, likewise.
	Needs []string
	// Starts are programs that it starts, by name, beside those that every root of its kind has.
	Starts []string
	Cores  int // that it computes on at once; 0 is one
	// Paths are where a linker looks first for what shared libraries need.
	Paths []string
	// Opaque says, in words for the user, why elsewhere it might read other files of its installation,
	// or come to another result; "" means that it reads what Wants and Needs lead to and what each call
	// of it does.
	Opaque string
	Writes []Output
	// Prints says that what it writes to standard output is a result (-E, nm), not messages.
	Prints bool
	// Sysroot is the directory that header and library search take for /, as of --sysroot or
	// -isysroot; "" is / itself.
	Sysroot string
	// Env has NAME=value of what it reads of the environment, apart from locale and PATH, sorted.
	Env []string
}

// An Output is a file that a call writes.
type Output struct {
	Path    string
	InPlace bool   // it is read, too, if it exists, as by strip, ranlib and ar
	Run     bool   // it is a program, or a library that is loaded
	Maybe   bool   // a run that succeeds may leave it out
	Like    string // an input whose permissions it gets, "" for the usual ones
	Names   bool   // a text that names files as they were called: dependencies, a linker's map
	Thin    bool   // a thin archive: useless without its members, and who reads it reads them
}

// A Want is a library that is looked for where the toolchain has its own.
type Want struct {
	Name    string // as after -l
	Static  bool   // only an archive will do
	Implied bool   // the compiler names it, and does without if it is not there
}

// Model takes a command line apart. The tool is the absolute path of the program that would run,
// argv its arguments from argv[0], dir the absolute working directory and env NAME=value pairs.
// It looks at files only for what the answer depends on: response files, linker scripts, symbols
// of thin archives, libraries. The result is never nil; who made it says Model, "" meaning that
// no model knows the tool, which is then Local. Equal arguments and files give an equal Call.
func Model(tool string, argv []string, dir string, env []string, files Files) *Call {
	return newReader(tool, dir, env, files).run(nil, argv)
}
