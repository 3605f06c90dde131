package client

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

func aCall(dir string, args ...string) *toolCall {
	return &toolCall{tool: "/usr/bin/gcc", dir: dir, args: args}
}

func TestReportsSurviveARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "builds.json")
	now := time.Now()
	r := loadReports(path, slog.Default())
	b := r.begin("coord make -j4", "/src", now)
	r.note(b, func(b *BuildReport) {
		b.done(wire.HowRan, now)
		b.done(wire.HowMemo, now)
		b.here("a call to link", aCall("/src/lib", "-o", "prog", "main.o"), now)
		for i := range 3 {
			b.here("no header", aCall("/src", "-Iinclude", "-c", fmt.Sprintf("a%d.c", i)), now)
		}
	})
	r.close()
	r.note(b, func(b *BuildReport) { b.Ran = 99 }) // is not saved any more

	all := loadReports(path, slog.Default()).list()
	if len(all) != 1 {
		t.Fatalf("%d builds, want 1", len(all))
	}
	got := all[0].text(all[0].Last.Add(time.Minute))
	want := `coord make -j4 in /src, 1m00s ago, took 0.0s
2 of 6 compiler calls on the mesh: 1 ran, 1 memo, 0 shared; 4 here
    3  no header
         a0.c in /src
           gcc -Iinclude -c a0.c
         a1.c in /src
           gcc -Iinclude -c a1.c
    1  a call to link
         in /src/lib
           gcc -o prog main.o
`
	if got != want {
		t.Errorf("it says\n%s\nwant\n%s", got, want)
	}
}

// TestReportsAreBounded gives each bound more than it takes.
func TestReportsAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "builds.json")
	now := time.Now()
	r := loadReports(path, slog.Default())
	first := r.begin("coord make", "/first", now)
	for i := range 2 * maxBuilds {
		b := r.begin("coord make", "/src", now)
		r.note(b, func(b *BuildReport) { b.Going = i == 0 })
	}
	long := strings.Repeat("<", 3*maxText) // takes six bytes each in JSON
	full := r.begin("coord make "+long, "/"+long, now)
	r.note(full, func(b *BuildReport) {
		for i := range 2 * maxReported {
			for range 2 * maxExamples {
				b.here(fmt.Sprint(i, long), aCall("/"+long, "-c", long+".c"), now)
			}
		}
	})
	all := r.list()
	if len(all) != maxBuilds {
		t.Errorf("%d builds are kept, want %d", len(all), maxBuilds)
	}
	if all[0].Dir != "/first" || !first.Going || !all[1].Going {
		t.Error("builds that go on are not the ones that stayed")
	}
	last := &all[len(all)-1]
	if calls := 4 * maxReported * maxExamples; last.Here != calls || last.Others != calls/2 || len(last.Why) != maxReported {
		t.Errorf("%d calls here, %d of them for others than %d reasons", last.Here, last.Others, len(last.Why))
	}
	r.close()
	info, err := os.Stat(path)
	if err != nil || info.Size()*maxBuilds > maxReportsFile {
		t.Fatalf("a full build takes %d bytes, %v", info.Size(), err)
	}
	if again := loadReports(path, slog.Default()); len(again.builds) != maxBuilds {
		t.Errorf("%d builds are read again", len(again.builds))
	}
}

// TestReportsThatCannotBeRead: what is damaged, or of another version, is nothing.
func TestReportsThatCannotBeRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "builds.json")
	for _, text := range []string{"", "{", `{"version":2,"builds":[{"dir":"/src"}]}`, `{"version":1,"builds":"none"}`, `{"version":1,"builds":[null]}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := loadReports(path, slog.Default())
		if n := len(r.list()); n != 0 {
			t.Errorf("%q is read as %d builds", text, n)
		}
		r.begin("coord make", "/src", time.Now())
		r.close()
		if n := len(loadReports(path, slog.Default()).list()); n != 1 {
			t.Errorf("after %q a build is not kept", text)
		}
	}
}

// TestRoundsAreOneBuild: make that runs again is told of once, with the calls of all its rounds.
func TestRoundsAreOneBuild(t *testing.T) {
	now := time.Now()
	r := loadReports(filepath.Join(t.TempDir(), "builds.json"), slog.Default())
	defer r.close()
	other := r.begin("coord make", "/other", now)
	first := r.begin("coord make", "/src", now)
	r.note(first, func(b *BuildReport) {
		b.done(wire.HowRan, now)
		b.here("no header", aCall("/src", "-c", "a.c"), now)
		b.Going = false
	})
	second := r.again("coord make", "/src", now.Add(time.Second))
	r.note(second, func(b *BuildReport) { b.done(wire.HowMemo, now) })
	if r.again("coord make", "/other", now) == other {
		t.Error("a build that goes on began again")
	}
	all := r.list()
	if len(all) != 3 {
		t.Fatalf("%d builds, want 3", len(all))
	}
	if b := all[1]; b.Ran != 1 || b.Memo != 1 || b.Here != 1 || len(b.Why) != 1 || !b.Begun.Equal(now) || !b.Going {
		t.Errorf("the rounds are told as %+v", b)
	}
	calls := &Calls{Ran: 1, Here: 1, Why: map[string]int{"no header": 1}}
	calls.Add(&Calls{Memo: 1, Here: 2, Why: map[string]int{"no header": 1, "an error": 1}, Bound: map[string]int{"__FILE__": 1}})
	want := "2 of 5 compiler calls on the mesh: 1 ran, 1 memo, 0 shared; 3 here:\n  2  no header\n  1  an error\n1 not portable:\n  1  __FILE__"
	if got := calls.String(); got != want {
		t.Errorf("the rounds are summed up as %q, want %q", got, want)
	}
}

// TestLooseCallsAreGathered: calls that no command began are told of by working copy.
func TestLooseCallsAreGathered(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"a/.git", "a/sub/deep", "b"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	tools := &tools{reports: loadReports(filepath.Join(dir, "builds.json"), slog.Default())}
	of := func(sub string, at time.Duration) *build {
		b := tools.looseBuild(aCall(filepath.Join(dir, sub)), now.Add(at))
		leave := b.enter()
		if !b.report.Going {
			t.Error("a build with a call does not go on")
		}
		leave()
		if b.report.Going {
			t.Error("a build without calls goes on")
		}
		return b
	}
	a, b := of("a/sub/deep", 0), of("b", 0)
	if a == b || of("a", time.Second) != a || of("b", time.Second) != b {
		t.Error("calls of one working copy are not together, or those of two are")
	}
	for i := range 2 * maxBuilds {
		if of(fmt.Sprintf("b/CMakeFiles/Scratch/Try-%d", i), time.Second) != b || of(fmt.Sprintf("a/build/meson-private/tmp%d", i), 0) != a {
			t.Fatal("a compiler that is tried is a build of its own")
		}
	}
	if n := len(tools.reports.list()); n != 2 {
		t.Errorf("%d reports, want 2", n)
	}
	tools.loose = nil
	if c := of("b", time.Second); c == b || c.report != b.report {
		t.Error("another process does not go on with the report")
	}
	if of("b", 2*looseLasts).report == b.report {
		t.Error("a build goes on after a long silence")
	}
	for i := range 2 * maxBuilds {
		d := fmt.Sprintf("many/%d", i)
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
		of(d, time.Second)
	}
	if len(tools.loose) != maxBuilds || len(tools.reports.list()) != maxBuilds {
		t.Errorf("%d builds and %d reports, want %d", len(tools.loose), len(tools.reports.list()), maxBuilds)
	}
	tools.reports.close()
}
