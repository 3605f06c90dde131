package server

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gaggle/coord/sched"
	"gaggle/wire"
)

// memoryDir is a directory where flushing costs nothing, if there is one.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "tables")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}

// usedTables are the bytes of tables that have been written to for a while, so that pages of earlier
// transactions lie about, and the rows that are in them.
func usedTables(t *testing.T) (file []byte, rows []sched.Row) {
	t.Helper()
	dir := memoryDir(t)
	j, err := OpenJournal(dir, slog.New(slog.DiscardHandler))
	must(t, err)
	all := someRows(t, 20)
	for i := 0; i < len(all); i += 40 {
		must(t, j.Write(all[i:min(i+40, len(all))]))
	}
	var gone []sched.Row
	for _, r := range all {
		if v, ok := r.(sched.RowValue); ok && v.Thunk[0]%4 == 0 {
			gone = append(gone, sched.RowWithdrawn{Space: v.Space, Thunk: v.Thunk})
		}
	}
	must(t, j.Write(gone))
	must(t, j.Write([]sched.Row{sched.RowJob{Submitted: testJob(t, 3, 3)}}))
	_, err = j.Redeem(7, 1)
	must(t, err)
	rows = loadAll(t, j)
	must(t, j.Close())
	file, err = os.ReadFile(filepath.Join(dir, "coord.db"))
	must(t, err)
	return file, rows
}

// again reports whether a row can be made again.
func again(r sched.Row) bool {
	switch r.(type) {
	case sched.RowValue, sched.RowExpansion:
		return true
	}
	return false
}

// checkRows checks that rows are those wanted, of which only some that can be made again are missing.
func checkRows(t *testing.T, what string, rows, want []sched.Row) {
	t.Helper()
	for _, w := range want {
		if len(rows) > 0 && cmp.Equal(rows[0], w, cmp.AllowUnexported(wire.Value{})) {
			rows = rows[1:]
		} else if !again(w) {
			t.Errorf("%s: %T is lost: %.200v", what, w, w)
			return
		}
	}
	if len(rows) > 0 {
		t.Errorf("%s: a %T that nobody wrote: %.200v", what, rows[0], rows[0])
	}
}

// afterDamage opens a damaged file and checks that it is refused as it should be, or gives what it held.
func afterDamage(t *testing.T, what string, file []byte, want []sched.Row) (outcome string) {
	t.Helper()
	dir := memoryDir(t)
	path := filepath.Join(dir, "coord.db")
	must(t, os.WriteFile(path, file, 0o600))
	var log bytes.Buffer
	j, err := OpenJournal(dir, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		if e := wire.AsError(err); e.Cause != wire.CauseDisk || !strings.Contains(e.Message, path) || e.Hint == "" {
			t.Errorf("%s: OpenJournal = %v, want cause disk, the file and what to do", what, err)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, file) {
			t.Errorf("%s: the file was changed, %v", what, err)
		}
		return "refused"
	}
	rows := loadAll(t, j)
	checkRows(t, what, rows, want)
	more := sched.RowJob{Submitted: testJob(t, 200, 1)}
	must(t, j.Write([]sched.Row{more}))
	first, err := j.Redeem(7, 1)
	if err != nil || first {
		t.Errorf("%s: Redeem = %v, %v, want that it was used", what, first, err)
	}
	must(t, j.Close())
	j, err = OpenJournal(dir, slog.New(slog.DiscardHandler))
	must(t, err)
	if again := loadAll(t, j); len(again) != len(rows)+1 {
		t.Errorf("%s: %d rows when it is opened again, want one more than %d", what, len(again), len(rows))
	}
	must(t, j.Close())
	switch {
	case len(rows) == len(want) && log.Len() == 0:
		return "harmless"
	case len(rows) == len(want):
		return "copied"
	}
	if !strings.Contains(log.String(), "damaged") {
		t.Errorf("%s: %d rows of %d are there and nobody was told: %s", what, len(rows), len(want), log.String())
	}
	return "copied in part"
}

// TestBitsFlippedInTheTables: whichever bit rots, tables are refused, naming the file, or hold what
// was acknowledged.
func TestBitsFlippedInTheTables(t *testing.T) {
	file, want := usedTables(t)
	if outcome := afterDamage(t, "as it was", file, want); outcome != "harmless" {
		t.Fatalf("an undamaged file: %s", outcome)
	}
	s, err := newScan(bytes.NewReader(file))
	must(t, err)
	_, err = s.judge()
	must(t, err)
	used := slices.Sorted(maps.Keys(s.pages.taken))
	flips := 120
	if testing.Short() {
		flips = 60
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	outcomes := map[string]int{}
	for i := range flips {
		page := used[rnd.IntN(len(used))]
		at := int(page*s.pages.size) + rnd.IntN(int(s.pages.size))
		if i%2 == 0 { // where bbolt's own structure is
			at = int(page*s.pages.size) + rnd.IntN(pageHead+4*leafElem)
		}
		bit := rnd.IntN(8)
		bad := bytes.Clone(file)
		bad[at] ^= 1 << bit
		outcomes[afterDamage(t, fmt.Sprintf("bit %d of byte %d", bit, at), bad, want)]++
	}
	t.Logf("%d flips in %d bytes: %v", flips, len(file), outcomes)
	for _, o := range []string{"refused", "harmless", "copied in part"} {
		if outcomes[o] == 0 {
			t.Errorf("no flip was %s: %v", o, outcomes)
		}
	}
}

// lastMeta is the meta page of the last transaction.
func lastMeta(file []byte) []byte {
	size := os.Getpagesize()
	m, other := file[pageHead:pageHead+metaSize], file[size+pageHead:size+pageHead+metaSize]
	if binary.NativeEndian.Uint64(other[48:]) > binary.NativeEndian.Uint64(m[48:]) {
		m = other
	}
	return m
}

// findPage returns a page of that kind that bbolt uses.
func findPage(t *testing.T, file []byte, kind uint16) uint64 {
	t.Helper()
	p, err := openPages(bytes.NewReader(file))
	must(t, err)
	s, err := newScan(bytes.NewReader(file))
	must(t, err)
	_, err = s.judge()
	must(t, err)
	for page := uint64(2); page < p.end; page++ {
		if s.pages.taken[page] && binary.NativeEndian.Uint16(file[page*p.size+8:]) == kind {
			return page
		}
	}
	t.Fatalf("no page of kind %d", kind)
	return 0
}

// TestDamageThatBboltDoesNotSee are cases which bbolt alone answers with older rows, an endless walk or
// none at all.
func TestDamageThatBboltDoesNotSee(t *testing.T) {
	file, want := usedTables(t)
	size := uint64(os.Getpagesize())
	order := binary.NativeEndian
	for _, c := range []struct {
		name   string
		change func(b []byte)
		want   string
	}{
		{"the last meta page", func(b []byte) { lastMeta(b)[20] ^= 1 }, "refused"},
		{"a free list that lists a page in use", func(b []byte) {
			free := order.Uint64(lastMeta(b)[32:]) * size
			order.PutUint16(b[free+10:], 1)
			copy(b[free+16:], lastMeta(b)[16:24]) // the root
		}, "copied"},
		{"a branch that leads to itself", func(b []byte) {
			page := findPage(t, b, kindBranch)
			order.PutUint64(b[page*size+16+8:], page)
		}, "copied in part"},
		{"fewer rows in a page of values", func(b []byte) {
			page := order.Uint64(b[findPage(t, b, kindBranch)*size+16+8:])
			order.PutUint16(b[page*size+10:], 1)
		}, "copied in part"},
		{"it is gone from the root on", func(b []byte) { clear(b[order.Uint64(lastMeta(b)[16:24])*size:]) }, "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := bytes.Clone(file)
			c.change(bad)
			if got := afterDamage(t, c.name, bad, want); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// TestDamageWhileTheTablesAreOpen: a row that rotted is noticed when it is replaced, and from then on
// nothing is promised.
func TestDamageWhileTheTablesAreOpen(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir)
	id, _ := testThunk(t, 1)
	row := sched.RowValue{Space: "anna", Thunk: id, Value: wire.NewValue([]wire.Object{wire.FileObject(wire.BlobID{1}, 5, true)})}
	must(t, j.Write([]sched.Row{row}))
	path := filepath.Join(dir, "coord.db")
	file, err := os.ReadFile(path)
	must(t, err)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	for at := 0; ; at++ { // in every copy of the row
		n := bytes.Index(file[at:], id[:])
		if n < 0 {
			break
		}
		at += n
		_, err := f.WriteAt([]byte{^file[at+len(id)+sealSize]}, int64(at+len(id)+sealSize))
		must(t, err)
	}
	for range 2 {
		err := j.Write([]sched.Row{sched.RowWithdrawn{Space: "anna", Thunk: id}})
		if e := wire.AsError(err); e == nil || e.Cause != wire.CauseDisk || !strings.Contains(e.Message, path+" is damaged") || e.Hint == "" {
			t.Errorf("Write = %v, want that the file is damaged", err)
		}
	}
	if err := j.Write([]sched.Row{sched.RowJobState{Job: wire.JobID{1}, Cancelled: true, At: time.Now()}}); wire.CauseOf(err) != wire.CauseDisk {
		t.Errorf("Write of another row = %v, want the same error", err)
	}
}
