package scan

// A Unit is one source file as a compile command reads it. Who parses commands fills it in; it
// names everything outside of files that may change which files are read.
type Unit struct {
	Dir      string // working directory, absolute
	Source   string // as the command names it
	Language string // as -x names it: "c", "c++", "assembler-with-cpp", "objective-c", "objective-c++"
	Compiler string // absolute path of the compiler

	// Flags are those that may change built-in macros or search directories (-std=, -m*, -f*,
	// -O*, -nostdinc, --sysroot=, -pthread ...), in order, as given.
	Flags []string

	// Env has NAME=value of the variables that the compiler reads: CPATH, C_INCLUDE_PATH,
	// CPLUS_INCLUDE_PATH, OBJC_INCLUDE_PATH, GCC_*, COMPILER_PATH, PATH, LANG, LC_*.
	Env []string

	Macros []Macro // -D and -U, in order

	Quote, Include, System, After []string // -iquote, -I, -isystem, -idirafter, each in order, as given

	Imacros, Forced []string // -imacros, -include
}

// A Macro is one -D or -U of a command.
type Macro struct {
	Undefine bool
	Text     string // as given to -D ("X", "X=1", "F(a)=a") or to -U
}
