package infer

import "path"

// Roles of a compiler's flags.
const (
	ccMode       role = own + iota // -c, -S, -E, -M ...: by name
	ccOutput                       // -o
	ccLanguage                     // -x
	ccMacro                        // -D, -U
	ccDir                          // -I, -iquote, -isystem, -idirafter
	ccForced                       // -include
	ccImacros                      // -imacros
	ccDepend                       // -MD, -MMD
	ccDepFile                      // -MF
	ccProbe                        // may change macros or directories: to Unit.Flags
	ccSysroot                      // --sysroot, -isysroot
	ccSpecs                        // -specs
	ccLink                         // for the linker as it stands, operand and all
	ccLinkWords                    // -Wl,A,B
	ccLinkWord                     // -Xlinker A
	ccAsWords                      // -Wa,A,B
	ccAsWord                       // -Xassembler A
	ccPreWords                     // -Wp,A,B
	ccPreWord                      // -Xpreprocessor A
	ccSide                         // makes a file beside the output, named after it: by name
	ccSideFile                     // its operand is a file that is written
	ccProfile                      // -fprofile-use and the like: reads what runs left
	ccProfileDir                   // -fprofile-dir
	ccDump                         // -dLETTERS
	ccOptInfo                      // -fopt-info
	ccEmitLLVM
)

// ccFlags are the flags of gcc and clang that are parsed; the others are weighed by family.
var ccFlags = table{}.
	add(alone, ccMode, "-c -S -E -M -MM -fsyntax-only").
	add(joined|apart, ccOutput, "-o").
	add(joined|apart, ccLanguage, "-x").
	add(joined|apart, ccMacro, "-D -U").
	add(joined|apart, ccDir, "-I -iquote -isystem -idirafter").
	add(joined|apart, ccForced, "-include").
	add(joined|apart, ccImacros, "-imacros").
	add(alone, ccDepend, "-MD -MMD").
	add(joined|apart, ccDepFile, "-MF").
	add(joined|apart, pass, "-MT -MQ").
	add(alone, pass, "-MP -MG").
	add(alone, ccProbe, `
		-ansi -undef -traditional -traditional-cpp -trigraphs -nostdinc -nostdinc++ -pthread
		-nobuiltininc -nostdlibinc`).
	add(equal, ccProbe, `
		-std --std -stdlib --stdlib --target -ffile-prefix-map -fmacro-prefix-map -march -mtune
		-mcpu -mabi -mfpu -mfpmath -fvisibility -ftls-model -flto -fsanitize`).
	add(equal|apart, ccProbe, "--param").
	add(apart, ccProbe, "-target").
	add(equal|apart, ccSysroot, "--sysroot").
	add(joined|apart, ccSysroot, "-isysroot").
	add(equal, ccSpecs, "-specs --specs").
	add(joined|apart, ccLink, "-l -L -T -u -z -e").
	add(alone, ccLink, "-static -shared -r -s -static-pie").
	add(joined, ccLinkWords, "-Wl,").
	add(apart, ccLinkWord, "-Xlinker").
	add(joined, ccAsWords, "-Wa,").
	add(apart, ccAsWord, "-Xassembler").
	add(joined, ccPreWords, "-Wp,").
	add(apart, ccPreWord, "-Xpreprocessor").
	add(alone, ccSide, `
		--coverage -coverage -ftest-coverage -gsplit-dwarf -gno-split-dwarf -fstack-usage
		-fcallgraph-info -save-temps --save-temps`).
	add(equal, ccSide, "-gsplit-dwarf -save-temps --save-temps -fcallgraph-info").
	add(apart, ccSideFile, "-aux-info").
	add(alone|equal, ccProfile, `
		-fprofile-use -fauto-profile -fprofile-instr-use -fprofile-sample-use`).
	add(alone, ccProfile, "-fbranch-probabilities").
	add(equal, ccProfileDir, "-fprofile-dir").
	add(joined, ccDump, "-d").
	add(alone|joined, ccOptInfo, "-fopt-info").
	add(alone, pass, `
		-pipe -w -p -pg -pedantic -pedantic-errors -pass-exit-codes -no-canonical-prefixes -P -C
		-CC -H -pie -no-pie -nopie -rdynamic -symbolic -nostartfiles -nodefaultlibs -nolibc
		-nostdlib -nostdlib++ -shared-libgcc -N -n -no-integrated-cpp -integrated-as
		-no-integrated-as -Qunused-arguments -fno-lto -fprofile-generate -ObjC++`).
	add(joined, pass, "-static-lib").
	add(equal, pass, `
		-rtlib --rtlib -unwindlib --unwindlib -fprofile-generate -fprofile-prefix-path
		-fprofile-update -fdebug-prefix-map -fcoverage-prefix-map -fdebug-compilation-dir
		-fcoverage-compilation-dir -frandom-seed -fmessage-length -fprofile-filter-files
		-fprofile-exclude-files -fcf-protection`).
	add(apart, pass, "-mllvm -G").
	add(equal, reads, `
		-fsanitize-blacklist -fsanitize-ignorelist -fsanitize-system-ignorelist
		-fsanitize-coverage-allowlist -fsanitize-coverage-ignorelist -fprofile-list
		-fprofile-remapping-file -fxray-attr-list -fxray-always-instrument
		-fxray-never-instrument -fthinlto-index`).
	add(alone, question, `
		--version --help --target-help -dumpmachine -dumpversion -dumpfullversion -dumpspecs -v
		-### -Q --verbose`).
	add(equal, question, "--help -dumpmachine").
	add(joined, question, "-print- --print-").
	refuse(joined|alone, "what it leaves beside the output only a run tells", `
		-fdump- -fsave-optimization-record -foptimization-record -fproc-stat-report -ftime-trace
		-ftime-report -fcompare-debug -fprofile-note -frepo -fanalyzer-dump
		-fdiagnostics-add-output -fdiagnostics-set-output -time`).
	refuse(alone|joined|apart, "it lets a program run the compiler's parts", "-wrapper").
	refuse(joined|apart, "it changes which assembler, linker and other parts the compiler runs", `
		-B`).
	refuse(joined, "a plugin may read and write anything", "-fplugin -fpass-plugin").
	refuse(apart, "a plugin may read and write anything", "-load").
	refuse(joined, "modules read and write files that the command line does not name", `
		-fmodule -fcxx-modules -fprebuilt-module`).
	refuse(apart, "it reaches parts of the compiler whose flags are not known here", `
		-Xclang -Xarch_host -Xcuda-ptxas -Xopenmp-target`).
	refuse(joined|apart, "it changes names of outputs in ways that are not modelled", `
		-dumpdir -dumpbase -dumpbase-ext -working-directory`).
	refuse(joined|apart, "its kind of header search is not modelled", `
		-I- -iprefix -iwithprefix -iwithprefixbefore -imultilib -iplugindir -isystem-after
		-iwithsysroot -ivfsoverlay -include-pch -F -iframework -cxx-isystem -stdlib++-isystem -A`).
	refuse(alone, "its kind of header search is not modelled", "-remap -I-").
	refuse(alone|joined, "it uses another installation or configuration of the compiler", `
		--gcc-toolchain -gcc-toolchain --gcc-install-dir -resource-dir --config`).
	refuse(alone|joined|apart, "it is not modelled", `
		-arch -framework --analyze -emit-ast -rewrite-objc -emit-pch -ccc- -fembed-bitcode
		-fuse-cuid -lto -fwpa -fltrans -fresolution`).
	refuse(alone|joined, "it takes a word along that is not modelled", `
		-gen- -meabi -mthread-model -module-dependency-dir -gnatO -fintrinsic-modules-path`).
	refuse(alone, "it needs make's job server", "-flto=jobserver")

// gccFlags and clangFlags are what only one of them knows.
var (
	gccFlags   = ccFlags.with(table{})
	clangFlags = ccFlags.with(table{}.
			add(alone, ccEmitLLVM, "-emit-llvm").
			add(apart|equal, ccLink, "-Tbss -Tdata -Ttext").
			add(joined|apart, ccSideFile, "-MJ").
			add(apart, ccSideFile, "-serialize-diagnostics --serialize-diagnostics"))
)

// languages are what a source is by its suffix, for gcc; both g++ and clang++ take C as C++.
var languages = map[string]string{
	".c": "c", ".i": "cpp-output", ".h": "c-header", ".m": "objective-c", ".mi": "objective-c-cpp-output",
	".cc": "c++", ".cp": "c++", ".cxx": "c++", ".cpp": "c++", ".CPP": "c++", ".c++": "c++", ".C": "c++", ".ii": "c++-cpp-output",
	".hh": "c++-header", ".H": "c++-header", ".hp": "c++-header", ".hxx": "c++-header", ".hpp": "c++-header", ".HPP": "c++-header", ".h++": "c++-header", ".tcc": "c++-header",
	".mm": "objective-c++", ".M": "objective-c++", ".mii": "objective-c++-cpp-output",
	".s": "assembler", ".S": "assembler-with-cpp", ".sx": "assembler-with-cpp",
	".f": "f77", ".for": "f77", ".ftn": "f77", ".F": "f77", ".FOR": "f77", ".fpp": "f77", ".FPP": "f77", ".FTN": "f77",
	".f90": "f95", ".f95": "f95", ".f03": "f95", ".f08": "f95", ".F90": "f95", ".F95": "f95", ".F03": "f95", ".F08": "f95",
	".go": "go", ".d": "d", ".di": "d", ".adb": "ada", ".ads": "ada", ".java": "java", ".mod": "modula-2", ".cu": "cuda", ".cl": "cl",
}

// Source reports whether a compiler takes a file of this name for a source.
func Source(name string) bool { return languages[path.Ext(name)] != "" }

// A phase is what becomes of a source of a language.
type phase struct {
	preprocessed bool   // it is already: its includes are in it
	header       bool   // it is compiled to a .gch
	temp         string // the suffix of its preprocessed text with -save-temps
	compiled     bool   // there is a compiler between preprocessor and assembler
}

// phases has the languages that are modelled.
var phases = map[string]phase{
	"c": {temp: ".i", compiled: true}, "c++": {temp: ".ii", compiled: true},
	"objective-c": {temp: ".mi", compiled: true}, "objective-c++": {temp: ".mii", compiled: true},
	"c-header": {header: true, compiled: true}, "c++-header": {header: true, compiled: true},
	"cpp-output": {preprocessed: true, compiled: true}, "c++-cpp-output": {preprocessed: true, compiled: true},
	"assembler": {preprocessed: true}, "assembler-with-cpp": {temp: ".s"},
}
