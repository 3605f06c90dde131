// Package gaggle_test holds the rules of the house: what may import what, and what every file
// and package has. It reads the sources itself; a child `go list` would be answered from the
// test cache.
package gaggle_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layers says for every package in which row of ARCHITECTURE.md it stands. An import may only
// point to a lower row.
var layers = map[string]int{
	"wire": 0, "sandbox/notify": 0, "boottime": 0,

	"overlay/peer": 1, "overlay/web": 1, "overlay/wired": 1, "blobstore": 1, "sandbox": 1, "sandbox/capture": 1, "sandbox/capture/programs": 1,
	"node/memory": 1, "node/carbon": 1, "coord/sched": 1, "coord/graph": 1,

	"overlay": 2, "overlay/lens": 2, "sandbox/doctor": 2, "blobstore/exchange": 2, "coord/infer": 2, "coord/infer/scan": 1, "coord/placeholder": 1, "coord/gate": 1,

	"coord/sdk": 1, // its tests ask coord/graph

	"coord/client": 3, "coord/server": 3, "coord/reapi": 3, "node/worker": 3,

	"node": 4, "coord": 4, "examples/words": 4,

	"scripts/platforms": 4,

	"cluster-test": 5, "cluster-test/sim": 5, "cluster-test/liar": 5, "cluster-test/agree": 5, "cluster-test/meet": 5,
}

// beside lists the imports that are allowed within a row.
var beside = map[string][]string{
	"coord/client": {"coord/server", "node/worker"}, // the process that is coordinator and node of one machine
}

// owners says for some modules which packages alone may import them, so that what they do stays
// in one place. Tests may, to compare, but for libp2p.
var owners = map[string][]string{
	libp2p:                                 {"overlay/peer"},
	"github.com/quic-go/":                  {"overlay/peer"},
	"github.com/multiformats/go-multiaddr": {"overlay/peer"},
	"google.golang.org/grpc":               {"coord/reapi"},
	"go.etcd.io/bbolt":                     {"coord/server", "blobstore"},
	"github.com/spf13/cobra":               {"node", "coord"},
	"github.com/cilium/ebpf":               {"overlay/wired", "overlay/lens"},
	"github.com/vishvananda/":              {"overlay", "sandbox"},
}

const libp2p = "github.com/libp2p/"

// modules are directories of other modules, which only compare and may import what they like.
var modules = []string{"scripts/bitswap"}

// pure are packages whose decisions are values in, values out.
var pure = []string{"wire", "coord/sched", "node/memory", "node/carbon"}

var (
	impureImports = []string{"os", "net", "net/http", "os/exec", "math/rand", "math/rand/v2", "crypto/rand", "log", "log/slog", "syscall", "golang.org/x/sys/unix"}
	impureCalls   = []string{"time.Now", "time.Since", "time.Until", "time.Sleep", "time.After", "time.AfterFunc", "time.NewTimer", "time.NewTicker", "time.Tick"}
)

// A source is one Go file of the project.
type source struct {
	path string // slash-separated
	dir  string // of the package
	test bool
	text string
	file *ast.File
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if name != "." && (strings.HasPrefix(name, ".") || name == "testdata" || p == "bin" || p == "out" || slices.Contains(modules, p)) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(fset, p, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		p = filepath.ToSlash(p)
		all = append(all, source{path: p, dir: path.Dir(p), test: strings.HasSuffix(p, "_test.go"), text: string(text), file: f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("found %d Go files, which cannot be all", len(all))
	}
	return all
}

func (s source) imports() []string {
	var all []string
	for _, i := range s.file.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err == nil {
			all = append(all, p)
		}
	}
	return all
}

func TestImportsPointDown(t *testing.T) {
	for _, s := range sources(t) {
		if s.dir == "." {
			continue
		}
		row, ok := layers[s.dir]
		if !ok {
			t.Errorf("%s: directory %s has no layer; give it one here and in ARCHITECTURE.md", s.path, s.dir)
			continue
		}
		for _, p := range s.imports() {
			other, ours := strings.CutPrefix(p, "gaggle/")
			if !ours || other == s.dir {
				continue
			}
			target, known := layers[other]
			allowed := target < row || slices.Contains(beside[s.dir], other) ||
				s.test && target <= row // tests use neighbours as real parts
			if !known || !allowed {
				t.Errorf("%s (row %d) imports %s (row %d): an import may only point down", s.path, row, other, target)
			}
		}
	}
}

func TestModulesHaveOwners(t *testing.T) {
	for _, s := range sources(t) {
		for _, p := range s.imports() {
			for prefix, dirs := range owners {
				if s.test && prefix != libp2p {
					continue
				}
				if strings.HasPrefix(p, prefix) && !slices.Contains(dirs, s.dir) {
					t.Errorf("%s imports %s, which only %s may", s.path, p, strings.Join(dirs, " and "))
				}
			}
		}
	}
}

func TestDecisionsArePure(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || !slices.Contains(pure, s.dir) {
			continue
		}
		for _, p := range s.imports() {
			if slices.Contains(impureImports, p) {
				t.Errorf("%s imports %s: %s decides by its arguments alone", s.path, p, s.dir)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine", s.path)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && slices.Contains(impureCalls, x.Name+"."+n.Sel.Name) {
					t.Errorf("%s uses %s.%s: time is an argument of %s", s.path, x.Name, n.Sel.Name, s.dir)
				}
			}
			return true
		})
	}
}

func TestPackagesSayWhatTheyAre(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		if s.test && layers[s.dir] < 5 {
			continue
		}
		documented[s.dir] = documented[s.dir] || s.file.Doc != nil
	}
	for _, dir := range slices.Sorted(maps.Keys(documented)) {
		if !documented[dir] {
			t.Errorf("package %s has no package comment", dir)
		}
	}
}

// maxLines is where a file has to be split.
const maxLines = 1000

func TestFilesAreReadable(t *testing.T) {
	notes := []string{"TO" + "DO", "FIX" + "ME", "XX" + "X:"}
	for _, s := range sources(t) {
		if n := strings.Count(s.text, "\n"); n > maxLines {
			t.Errorf("%s has %d lines, more than %d", s.path, n, maxLines)
		}
		for i, line := range strings.Split(s.text, "\n") {
			for _, note := range notes {
				if strings.Contains(line, note) {
					t.Errorf("%s:%d: %s: do it, or make an issue of it", s.path, i+1, note)
				}
			}
		}
	}
}
