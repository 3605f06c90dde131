package sched

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A plant is a bug that is put into a copy of this package to see whether the simulation finds it.
// The tests are built with all of them, and the environment chooses one.
type plant struct {
	name     string
	file     string
	old, new string // new has PLANTED where it asks for itself
	test     string // what finds it, if not TestSeeds
}

var plants = []plant{
	{name: "forgets to decrement on a memo hit", file: "task.go",
		old: "\t\tut.missing--\n",
		new: "\t\tif !(PLANTED && how == wire.HowMemo) {\n\t\t\tut.missing--\n\t\t}\n"},
	{name: "accepts an older generation of a gang", file: "gang.go",
		old: "\t\tm.ended, m.outs = false, nil\n",
		new: "\t\tif !PLANTED {\n\t\t\tm.ended, m.outs = false, nil\n\t\t}\n"},
	{name: "drops a reference twice on cancel", file: "run.go",
		old: "\tbefore := &run.lead\n",
		new: "\tif PLANTED && run.course != nil && len(run.need) > 0 && s.jobOfTask(t).cancelled {\n\t\ts.dropRef(run.need[0])\n\t}\n\tbefore := &run.lead\n"},
	{name: "loses the race of Recall and Started", file: "balance.go",
		old: "\t\t\t\ts.emit(Recall{n.peer, l.id})\n",
		new: "\t\t\t\ts.emit(Recall{n.peer, l.id})\n\t\t\t\tif PLANTED {\n\t\t\t\t\ts.recalled(n.peer, l.id)\n\t\t\t\t}\n"},
	{name: "rewinds with a changed value", file: "run.go",
		old: "\tcase t.outs() != nil && !slices.Equal(t.outs(), outs):\n",
		new: "\tcase !PLANTED && t.outs() != nil && !slices.Equal(t.outs(), outs):\n"},
	{name: "shares across spaces", file: "sched.go", test: "TestSpacesAreApart",
		old: "\tn, ok := s.spaceOf[sp]\n",
		new: "\tif PLANTED {\n\t\tsp = \"t\"\n\t}\n\tn, ok := s.spaceOf[sp]\n"},
	{name: "lets an expansion wait for itself", file: "expand.go", test: "TestSubGraphsThatCannotBe",
		old: "\tif shared {\n\t\tif path",
		new: "\tif shared && !PLANTED {\n\t\tif path"},
	{name: "tells done before Stored", file: "keep.go",
		old: "h.have && h.durable && s.keeperCounts",
		new: "h.have && (h.durable || PLANTED) && s.keeperCounts"},
	{name: "uses a lease's id again after a restart", file: "lease.go",
		old: "wire.LeaseID(uint64(s.epoch)<<32 | uint64(s.lease))",
		new: "wire.LeaseID(plantedEpoch(PLANTED, s.epoch)<<32 | uint64(s.lease))"},
	{name: "believes a value that too few owners gave", file: "trust.go",
		old: "\tif want == 0 || t.vouched &&",
		new: "\tif PLANTED || want == 0 || t.vouched &&"},
	{name: "takes another owner's word", file: "trust.go",
		old: "\tif j.trust == wire.TrustAny {\n",
		new: "\tif PLANTED || j.trust == wire.TrustAny {\n"},
	{name: "gives a network's number again", file: "network.go",
		old: "\t\ts.vni = s.vni%wire.MaxVNI + 1\n",
		new: "\t\tif s.vni = s.vni%wire.MaxVNI + 1; PLANTED {\n\t\t\treturn 1\n\t\t}\n"},
	{name: "takes the p95 in the order of a map", file: "estimate.go",
		old: "\treturn d[(len(d)*95-1)/100], true\n",
		new: "\tif PLANTED {\n\t\tm := map[int]time.Duration{}\n\t\tfor i, x := range d {\n\t\t\tm[i] = x\n\t\t}\n\t\tfor _, x := range m {\n\t\t\treturn x, true\n\t\t}\n\t}\n\treturn d[(len(d)*95-1)/100], true\n"},
}

// plantedCode is what the plants need beside the code they are in.
const plantedCode = `package sched

import "os"

var planted = os.Getenv("GAGGLE_PLANTED")

func plantedEpoch(yes bool, epoch uint32) uint64 {
	if yes {
		return 1
	}
	return uint64(epoch)
}
`

// TestPlantedBugs shows that the simulation finds bugs of the kinds it is for, and how many seeds it
// needs. A bug that no seed finds is a hole in its invariants.
func TestPlantedBugs(t *testing.T) {
	bin := buildPlanted(t, plantedOverlay(t))
	for _, p := range plants {
		name := "TestSeeds"
		if p.test != "" {
			name = p.test
		}
		c := exec.Command(bin, "-test.run", "^("+name+")$", "-test.failfast", "-test.timeout=10m", "-seeds=300", "-inorder")
		c.Env = append(os.Environ(), "GAGGLE_PLANTED="+p.name)
		out, err := c.CombinedOutput()
		switch found := failedSeed.FindSubmatch(out); {
		case err == nil:
			t.Errorf("%s: not found by %s", p.name, name)
		case found != nil:
			t.Logf("%s: found by seed %s: %s", p.name, found[1], reason(out))
		default:
			t.Logf("%s: found by %s: %s", p.name, name, reason(out))
		}
	}
}

var failedSeed = regexp.MustCompile(`--- FAIL: TestSeeds/(\d+)`)

// reason returns the first line that tells what failed.
func reason(out []byte) string {
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); strings.Contains(line, "_test.go:") || strings.HasPrefix(line, "panic:") {
			return line[:min(len(line), 200)]
		}
	}
	return ""
}

// plantedOverlay puts every plant in its place, and returns what go takes as -overlay.
func plantedOverlay(t *testing.T) (path string) {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	texts := map[string]string{"planted.go": plantedCode}
	for i, p := range plants {
		if texts[p.file] == "" {
			b, err := os.ReadFile(p.file)
			if err != nil {
				t.Fatal(err)
			}
			texts[p.file] = string(b)
		}
		if n := strings.Count(texts[p.file], p.old); n != 1 {
			t.Fatalf("%q: its place is %d times in %s", p.name, n, p.file)
		}
		code := strings.ReplaceAll(p.new, "PLANTED", "(planted == "+strconv.Quote(plants[i].name)+")")
		texts[p.file] = strings.Replace(texts[p.file], p.old, code, 1)
	}
	over := struct{ Replace map[string]string }{map[string]string{}}
	for name, text := range texts {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		over.Replace[filepath.Join(here, name)] = path
	}
	b, err := json.Marshal(over)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// buildPlanted builds the package's tests with every plant in it.
func buildPlanted(t *testing.T, overlay string) (bin string) {
	t.Helper()
	bin = filepath.Join(t.TempDir(), "planted.test")
	args := []string{"test", "-c", "-overlay", overlay, "-o", bin, "."}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, out)
	}
	return bin
}

// TestPlantsDiffer: the environment could not choose between two of one name.
func TestPlantsDiffer(t *testing.T) {
	var names []string
	for _, p := range plants {
		if slices.Contains(names, p.name) {
			t.Errorf("%q is there twice", p.name)
		}
		names = append(names, p.name)
	}
}
