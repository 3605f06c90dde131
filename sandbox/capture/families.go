package capture

import "regexp"

// A family is what programs of one kind open by name, so that no header tells of it: an
// interpreter's libraries, a compiler's passes, a library's plug-ins. It applies to a program, a
// shared library or an imported function that was taken.
type family struct {
	why     string         // these paths are needed, and no more
	program *regexp.Regexp // of the program's file, at the end of links; $1 is put into paths
	library *regexp.Regexp // of a shared library's file
	symbol  string         // a function that a program or library imports
	// paths are patterns of directories and files, alternatives in {a,b}. {prefix} is the directory
	// above that of the program's file, {dir} the one that the file itself is in. What matches
	// nothing is of another distribution.
	paths  []string
	skip   []string // patterns of what is left out below paths
	marker string   // if not empty, a pattern that must match for paths to be this program's
	tools  []string // more programs, where they are on PATH
	// max bounds the bytes of what is optional by nature: a path that would exceed it is left out,
	// and said so. 0 is no bound.
	max int64
}

var families = []family{{
	why:     "Python imports modules by name from its prefix; static libraries and its own tests serve nobody else",
	program: regexp.MustCompile(`^python([23]\.[0-9]+)t?$`),
	paths: []string{"{prefix}/{lib,lib64}/python$1", "{prefix}/lib/python3/dist-packages",
		"/usr/local/lib/python$1/dist-packages", "/etc/python$1"},
	skip: []string{"{prefix}/lib/python$1/config-*/*.a", "{prefix}/lib/python$1/config-*/*.o", "{prefix}/lib/python$1/{test,lib2to3/tests,idlelib}",
		"{prefix}/lib/python$1/{unittest,distutils,ctypes,sqlite3,tkinter}/test*"},
}, {
	why:     "Perl finds modules in @INC",
	program: regexp.MustCompile(`^perl[0-9.]*$`),
	paths: []string{"/etc/perl", "{prefix}/share/{perl,perl5}", "{prefix}/{lib,lib64}/perl5", "{prefix}/lib/*-linux-*/{perl,perl5,perl-base}",
		"/usr/local/share/perl", "/usr/local/lib/*-linux-*/perl", "/usr/local/lib/site_perl"},
	skip: []string{"/usr/lib/*-linux-*/perl/*/CORE/*.a"},
}, {
	why:     "Ruby requires libraries and gems by name",
	program: regexp.MustCompile(`^ruby[0-9.]*$`),
	paths:   []string{"{prefix}/lib/ruby", "{prefix}/lib/*-linux-*/ruby", "{prefix}/share/rubygems-integration", "/var/lib/gems"},
}, {
	why:     "Node.js requires packages that are installed for all by name",
	program: regexp.MustCompile(`^node(?:js)?$`),
	paths:   []string{"{prefix}/share/{nodejs,node_modules}", "{prefix}/lib/{nodejs,node_modules}", "/usr/local/lib/node_modules"},
	max:     256 << 20,
}, {
	why:     "a JVM finds its libraries, modules and settings from its own place; src.zip is for people, jmods for jlink",
	program: regexp.MustCompile(`^(?:java|javac|jar|jshell|javadoc|keytool)$`),
	marker:  "{prefix}/lib/{modules,rt.jar}",
	paths:   []string{"{prefix}/{lib,conf,release}"},
	skip:    []string{"{prefix}/lib/src.zip"},
}, {
	why:     "gcc starts its passes, and reads headers, start files and the stubs of the C library; other libraries to link with are for include; objcopy splits debug information off",
	program: regexp.MustCompile(`(?:^|-)(?:gcc|cpp)-?([0-9]*)$`),
	paths:   cPaths,
	skip:    []string{"{prefix}/lib*/gcc/*/*/{cc1plus,cc1obj,cc1objplus,f951,gnat1,go1,d21}", "/usr/include/c++"},
	tools:   []string{"as", "ld", "objcopy"},
}, {
	why:     "g++ is gcc with its own pass and headers",
	program: regexp.MustCompile(`(?:^|-)g\+\+-?([0-9]*)$`),
	paths:   cPaths,
	skip:    []string{"{prefix}/lib*/gcc/*/*/{cc1obj,cc1objplus,f951,gnat1,go1,d21}"},
	tools:   []string{"as", "ld", "objcopy"},
}, {
	why:     "clang reads its own headers, and gcc's headers and start files",
	program: regexp.MustCompile(`^clang(?:\+\+)?(?:-[0-9]+)?()$`),
	paths:   append([]string{"{prefix}/lib/clang"}, cPaths...),
	skip:    []string{"{prefix}/lib*/gcc/*/*/" + gccPasses, "/usr/lib/gcc/*/*/" + gccPasses},
	tools:   []string{"as", "ld"},
}, {
	why:     "binutils load a plugin for objects that gcc made for link-time optimisation; a root of one of them is that of all",
	program: regexp.MustCompile(`^(?:[a-z0-9_]+-[a-z0-9_-]+-)?(?:ar|ranlib|strip|objcopy|ld(?:\.bfd)?)$`),
	paths:   []string{"{prefix}/lib/bfd-plugins/liblto_plugin.so"},
	tools:   []string{"ar", "ranlib", "strip", "objcopy"},
}, {
	why:     "gcc's own archivers start those of binutils with its plugin",
	program: regexp.MustCompile(`^(?:[a-z0-9_]+-[a-z0-9_-]+-)?gcc-(?:ar|ranlib)-?([0-9]*)$`),
	paths:   []string{"{prefix}/{lib,libexec}/gcc/*/$1*/liblto_plugin.so"},
	tools:   []string{"ar", "ranlib"},
}, {
	why:     "go compiles its standard library from source with tools of its own",
	program: regexp.MustCompile(`^go$`),
	marker:  "{prefix}/src/runtime",
	paths:   []string{"{prefix}/{bin,lib,pkg,src,go.env,VERSION}"},
}, {
	why:     "rustc links with the libraries of its toolchain",
	program: regexp.MustCompile(`^(?:rustc|cargo)$`),
	marker:  "{prefix}/lib/rustlib",
	paths:   []string{"{prefix}/lib"},
	tools:   []string{"cc"},
}, {
	why:     "git starts its subcommands by name, of which some are scripts, and copies templates into new repositories",
	program: regexp.MustCompile(`^git$`),
	paths:   []string{"{prefix}/{lib,libexec}/git-core", "{prefix}/share/git-core"},
	tools:   []string{"basename", "sed", "uname"},
}, {
	why:     "R loads packages by name, is started by a script, also by Rscript, and calls the shell to look for programs and to clean up",
	program: regexp.MustCompile(`^(?:R|Rscript)$`),
	paths:   []string{"/usr/{lib,lib64}/R", "/usr/share/R", "/etc/R", "/usr/local/lib/R"},
	tools:   []string{"R", "rm", "sed", "uname", "which"},
}, {
	why:     "gawk loads extensions and libraries by name",
	program: regexp.MustCompile(`^g?awk$`),
	paths:   []string{"{prefix}/lib/*-linux-*/gawk", "{prefix}/share/awk"},
}, {
	why:     "dates in other time zones than UTC",
	program: regexp.MustCompile(`^(?:date|python3\.[0-9]+|ruby[0-9.]*|php[0-9.]*)$`),
	paths:   []string{"/usr/share/zoneinfo"},
	skip:    []string{"/usr/share/zoneinfo/{posix,right}"},
	max:     16 << 20,
}, {
	why:     "ImageMagick loads a coder for each format, and reads colours, types and policies",
	library: regexp.MustCompile(`^libMagickCore-`),
	paths:   []string{"/etc/ImageMagick-*", "{dir}/ImageMagick-*", "/usr/share/ImageMagick-*"},
}, {
	why:     "fontconfig finds fonts in directories that its settings name; common ones come first, as many as the bound lets in",
	library: regexp.MustCompile(`^libfontconfig\.so`),
	paths: []string{"/etc/fonts", "/usr/share/fontconfig", "/usr/share/fonts/truetype/{dejavu,liberation,liberation2}",
		"/usr/share/fonts/type1/*", "/usr/share/fonts/*/*", "/usr/local/share/fonts"},
	max: 64 << 20,
}, {
	why:     "OpenSSL loads engines and providers by name, and reads one file of settings",
	library: regexp.MustCompile(`^libcrypto\.so`),
	paths:   []string{"{dir}/engines-*", "{dir}/ossl-modules", "/etc/ssl/openssl.cnf", "/usr/lib/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf"},
}, {
	why:     "TLS verifies with the certificates of authorities",
	library: regexp.MustCompile(`^(?:libssl|libgnutls|libnss3|libcurl(?:-gnutls)?)\.so`),
	paths: []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem", "/usr/lib/ssl/{cert.pem,certs}",
		"/etc/pki/tls/certs/ca-bundle.crt", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"},
}, {
	why:     "NSS loads its cryptography and its certificates by name",
	library: regexp.MustCompile(`^libnss3\.so`),
	paths:   []string{"{dir}/nss", "{dir}/lib{softokn3,freebl3,freeblpriv3,nssckbi,nssdbm3}.so"},
}, {
	why:    "iconv_open(3) loads a converter for each character set but UTF-8, UTF-16 and ASCII",
	symbol: "iconv_open",
	paths:  []string{"/usr/lib/*-linux-*/gconv", "/usr/lib64/gconv", "/usr/lib/gconv"},
}, {
	why:     "libmagic knows files by a table",
	library: regexp.MustCompile(`^libmagic\.so`),
	paths:   []string{"/etc/magic", "/usr/share/misc/magic.mgc", "/usr/lib/file", "/usr/share/file/magic.mgc"},
}, {
	why:     "curses knows terminals by a table each; these are the usual ones",
	library: regexp.MustCompile(`^lib(?:tinfow?|ncursesw?)\.so`),
	paths:   []string{"/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo/{d/dumb,l/linux,v/vt100,v/vt220,x/xterm*,s/screen*,t/tmux*}"},
}, {
	why:     "gdk-pixbuf loads a reader for each format",
	library: regexp.MustCompile(`^libgdk_pixbuf-`),
	paths:   []string{"{dir}/gdk-pixbuf-2.0"},
}, {
	why:     "Ghostscript runs PostScript of its own, with its fonts",
	library: regexp.MustCompile(`^libgs\.so`),
	paths:   []string{"/usr/share/ghostscript", "/usr/share/color/icc/ghostscript", "/usr/share/fonts/type1/urw-base35"},
}}

// gccPasses are what gcc starts or loads and clang has no use for.
const gccPasses = "{cc1,cc1plus,cc1obj,cc1objplus,f951,gnat1,lto1,collect2,lto-wrapper,g++-mapper-server,liblto_plugin.so,plugin}"

// cPaths is what a C compiler reads beside its own files.
var cPaths = []string{"{prefix}/{lib,libexec}/gcc/*/$1*", "/usr/lib/gcc/*/$1*", "/usr/include",
	"/usr/{lib/*-linux-*,lib64}/*crt*.o", "/usr/{lib/*-linux-*,lib64}/libc.so", "/usr/{lib/*-linux-*,lib64}/libc_nonshared.a",
	"/usr/lib/*-linux-*/lib{c,m,m-*,dl,rt,pthread,util,mvec,crypt,resolv}.a", "/usr/{lib/*-linux-*,lib64}/lib{m,mvec,dl,rt}.so*"}
