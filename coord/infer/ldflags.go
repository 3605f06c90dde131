package infer

// Roles of a linker's flags.
const (
	ldOutput    role = own + iota // -o
	ldDir                         // -L
	ldLibrary                     // -l
	ldScript                      // -T
	ldFile                        // its operand is a file that is written
	ldSysroot                     // --sysroot
	ldState                       // changes how libraries are looked for: by name
	ldRpath                       // -rpath
	ldRpathLink                   // -rpath-link
	ldSymbols                     // -R: a file of symbols, or a directory
	ldPluginOpt                   // -plugin-opt
	ldPrints
)

// ldFlags are those of GNU ld, gold and lld that are parsed. A long flag has its row with two
// dashes and may be written with one.
var ldFlags = table{}.
	add(joined|apart, ldOutput, "-o").
	add(equal|apart, ldOutput, "--output").
	add(joined|apart, ldDir, "-L").
	add(equal|apart, ldDir, "--library-path").
	add(joined|apart, ldLibrary, "-l").
	add(equal|apart, ldLibrary, "--library").
	add(joined|apart, ldScript, "-T").
	add(equal|apart, ldScript, "--script").
	add(equal|apart, ldFile, "--Map --dependency-file --out-implib").
	add(equal|apart, ldSysroot, "--sysroot").
	add(alone, ldState, `
		--Bstatic -dn --non_shared --static --Bdynamic -dy --call_shared -r -i --relocatable -Ur
		--push-state --pop-state`).
	add(equal|apart, ldRpath, "--rpath").
	add(equal|apart, ldRpathLink, "--rpath-link").
	add(joined|apart, ldSymbols, "-R").
	add(equal|apart, reads, `
		--version-script --dynamic-list --retain-symbols-file --export-dynamic-symbol-list
		--symbol-ordering-file --section-ordering-file --call-graph-ordering-file --plugin`).
	add(equal|apart, ldSymbols, "--just-symbols").
	add(equal|apart, pass, `
		--entry --defsym --undefined --require-defined --soname --dynamic-linker --section-start
		--Tbss --Tdata --Ttext --Ttext-segment --Trodata-segment --Tldata-segment --wrap
		--oformat --sort-section --unresolved-symbols --exclude-libs --spare-dynamic-tags
		--architecture --format --assert --auxiliary --filter --fini --init --gpsize
		--trace-symbol --depaudit --audit --image-base --package-metadata --orphan-handling
		--ignore-unresolved-symbol --export-dynamic-symbol --hash-style --max-page-size
		--common-page-size --icf --thread-count --split-stack-adjust-size`).
	add(joined|apart, pass, "-e -u -m -z -y -a -A -b -f -F -G -h -I -P -Y").
	add(equal|apart, ldPluginOpt, "--plugin-opt").
	add(joined, pass, "-O").
	add(equal, pass, `
		--build-id --compress-debug-sections --color-diagnostics --threads --lto-O --demangle
		--error-limit --pack-dyn-relocs`).
	add(alone, pass, `
		--build-id --demangle --threads --color-diagnostics -S -s -X -x -d -dc -dp -E -N -n -q
		-g -p -( -) -EL -EB -Qy -Bsymbolic --shared --Bshareable --pie --pic-executable --no-pie
		--as-needed --no-as-needed --whole-archive --no-whole-archive --start-group --end-group
		--start-lib --end-lib --gc-sections --no-gc-sections --export-dynamic
		--no-export-dynamic --eh-frame-hdr --no-eh-frame-hdr --no-undefined
		--allow-shlib-undefined --no-allow-shlib-undefined --allow-multiple-definition
		--no-dynamic-linker --strip-all --strip-debug --discard-all --discard-locals --nostdlib
		--omagic --nmagic --no-omagic --warn-common --fatal-warnings --no-fatal-warnings
		--no-warn-mismatch --enable-new-dtags --disable-new-dtags --relax --no-relax
		--emit-relocs --sort-common --no-demangle --Bsymbolic --Bsymbolic-functions --Bgroup
		--copy-dt-needed-entries --no-copy-dt-needed-entries --no-threads --no-keep-memory
		--warn-once --warn-section-align --warn-unresolved-symbols --no-define-common
		--default-symver --dynamic-list-data --dynamic-list-cpp-new --dynamic-list-cpp-typeinfo
		--no-ld-generated-unwind-info --no-rosegment --no-warn-execstack --warn-execstack
		--no-warn-rwx-segments`).
	add(alone, ldPrints, `
		-M --print-map -t --trace --cref --stats --print-gc-sections --print-memory-usage -V`).
	add(alone, question, `
		--version -v --help --target-help --verbose --print-output-format --print-sysroot`).
	refuse(alone, "it is another flag for gold than for others", "-optimize").
	refuse(apart|equal, "an MRI script is not modelled", "-c --mri-script").
	refuse(apart|equal, "what it writes beside the output is not modelled", `
		--reproduce --repro --save-temps --time-trace --print-symbol-counts
		--error-handling-script --chroot --dwo_dir --thinlto-index-only --default-script`).
	refuse(alone|joined, "what it writes beside the output is not modelled", `
		-dT --save-temps --time-trace --incremental --thinlto- --lto-emit --lto-obj-path
		--lto-cs-profile --print-archive-stats --why-extract --force-exe-suffix --dwarf-fission
		--plugin-save-temps`)
