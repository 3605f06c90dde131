package clustertest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkSlowUplink has a node read what a laptop behind 10 Mbit/s has: the sources of net/http, and as
// many files of the same sizes that do not shrink.
func BenchmarkSlowUplink(b *testing.B) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		b.Skip("there is no go here: ", err)
	}
	paths, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(root)), "src", "net", "http", "*.go"))
	if err != nil || len(paths) == 0 {
		b.Skip("there are no sources of Go here")
	}
	m := newStar(b, 1, 10)
	random := rand.NewChaCha8([32]byte{1})
	for i := range b.N {
		sources, noise, size := map[string]string{}, map[string]string{}, 0
		for _, p := range paths {
			text, err := os.ReadFile(p)
			if err != nil {
				b.Fatal(err)
			}
			text = fmt.Appendf(text, "// round %d\n", i)
			sources[filepath.Base(p)] = string(text)
			random.Read(text)
			noise[filepath.Base(p)] = string(text)
			size += len(text)
		}
		for name, files := range map[string]map[string]string{"sources": sources, "noise": noise} {
			input := fmt.Sprint(name, i)
			WriteFiles(b, filepath.Join(m.dir, input), files)
			slower, sent := m.read(b, input, size)
			b.ReportMetric(slower, "x-one-link-"+name)
			b.ReportMetric(sent, "x-sent-"+name)
		}
	}
}
