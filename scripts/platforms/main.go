// Command platforms type-checks the binaries, with all that they import, for each platform that is
// promised but this machine's own. A build for each takes ten times the CPU and finds nothing more but what
// only the linker sees.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/tools/go/packages"
)

// promised are the platforms of the README's table; where node has no sandbox there is coord alone.
var promised = []struct {
	os, arch string
	patterns []string
}{
	{"linux", "amd64", []string{"./..."}},
	{"linux", "arm64", []string{"./..."}},
	{"darwin", "arm64", []string{"./coord"}},
	{"windows", "amd64", []string{"./coord"}},
}

func main() {
	for _, p := range promised {
		if p.os == runtime.GOOS && p.arch == runtime.GOARCH {
			continue
		}
		if err := check(p.os, p.arch, p.patterns); err != nil {
			fmt.Fprintf(os.Stderr, "platforms: %s/%s: %v\n", p.os, p.arch, err)
			os.Exit(1)
		}
	}
}

// check returns what is wrong with packages on a platform.
func check(goos, goarch string, patterns []string) error {
	found, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports |
			packages.NeedDeps | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo | packages.NeedTypesSizes,
		Env: append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0"),
	}, patterns...)
	if err != nil {
		return err
	}
	var wrong []error
	packages.Visit(found, nil, func(p *packages.Package) {
		for _, e := range p.Errors {
			wrong = append(wrong, e)
		}
	})
	return errors.Join(wrong...)
}
