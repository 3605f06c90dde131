package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"gaggle/coord/sched"
	"gaggle/wire"
)

func openJournal(t *testing.T, dir string) Journal {
	t.Helper()
	j, err := OpenJournal(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func loadAll(t *testing.T, j Journal) (rows []sched.Row) {
	t.Helper()
	if err := j.Load(func(r sched.Row) { rows = append(rows, r) }); err != nil {
		t.Fatal(err)
	}
	return rows
}

func testThunk(t *testing.T, n int, inputs ...wire.Input) (wire.ThunkID, []byte) {
	t.Helper()
	th, err := wire.NewThunk(wire.Thunk{Command: []string{"true", fmt.Sprint(n)}, Inputs: inputs,
		Outputs: []wire.Output{{Path: "out", Kind: wire.File}}, Platform: "linux/amd64", ABI: wire.ABI})
	if err != nil {
		t.Fatal(err)
	}
	return th.Encode()
}

func testJob(t *testing.T, id byte, tasks int) sched.Submitted {
	t.Helper()
	s := sched.Submitted{Job: wire.JobID{id}, Space: "anna", Tenant: "anna", Name: "job", KeepGoing: true, Twice: true, At: time.UnixMicro(1e15)}
	for i := range tasks {
		thunk, enc := testThunk(t, i)
		s.Tasks = append(s.Tasks, wire.TaskSpec{Name: fmt.Sprint("t", i), Thunk: enc, Hints: wire.Hints{Timeout: time.Minute}})
		s.Targets = []wire.TargetSpec{{Path: "out", Thunk: thunk, Output: "out"}}
	}
	return s
}

func TestJournalGivesBackWhatWasWritten(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir)
	id, _ := testThunk(t, 7)
	value := sched.RowValue{Space: "anna", Thunk: id, Value: wire.NewValue([]wire.Object{wire.FileObject(wire.BlobID{1}, 5, true)}), Run: time.Second,
		By: sched.Voucher{Signer: wire.PeerID{3}, Owner: "anna", Signature: "s3"}, Also: []sched.Voucher{{Signer: wire.PeerID{4}, Owner: "bert", Signature: "s4"}}}
	sub := testJob(t, 1, 2*chunkTasks+1)
	sub.Trust, sub.Owner = wire.TrustOwn, "anna"
	graph := sched.RowExpansion{Expanded: sched.Expanded{Space: "anna", Thunk: id, Output: 2, Graph: wire.Object{Kind: wire.Graph, Digest: wire.Digest{6}, Size: 9}, Tasks: sub.Tasks[:3], Target: sub.Targets[0]}}
	job := sched.RowJob{Submitted: sub}
	if err := j.Write([]sched.Row{job, value, graph}); err != nil {
		t.Fatal(err)
	}
	j.Close()
	j = openJournal(t, dir)
	if diff := cmp.Diff([]sched.Row{value, graph, job}, loadAll(t, j), cmp.AllowUnexported(wire.Value{})); diff != "" {
		t.Errorf("Load after Write (-want +got):\n%s", diff)
	}
}

// TestJournalOpenedByManyAtOnce: of processes that open tables in the same moment, which are not there
// yet or are to be converted, none puts new ones into the place of those that another writes to.
func TestJournalOpenedByManyAtOnce(t *testing.T) {
	for round := range 10 {
		dir := t.TempDir()
		if round%2 == 1 {
			must(t, openJournal(t, dir).Close())
			downgrade(t, filepath.Join(dir, "coord.db"), []byte{0, 0, 0, 1})
		}
		var mu sync.Mutex
		var wrote []wire.JobID
		var all sync.WaitGroup
		for i := range 8 {
			job := wire.JobID{1, byte(i)}
			all.Go(func() {
				j, err := OpenJournal(dir, slog.New(slog.DiscardHandler))
				if err != nil {
					if wire.CauseOf(err) != wire.CauseBusy {
						t.Errorf("opening: %v", err)
					}
					return
				}
				err = j.Write([]sched.Row{sched.RowJobState{Job: job, Cancelled: true, At: time.UnixMicro(1)}})
				if err = errors.Join(err, j.Close()); err != nil {
					t.Errorf("writing: %v", err)
				}
				mu.Lock()
				defer mu.Unlock()
				wrote = append(wrote, job)
			})
		}
		all.Wait()
		if rows := loadAll(t, openJournal(t, dir)); len(rows) != len(wrote) || len(wrote) == 0 {
			t.Errorf("%d of %d rows are left", len(rows), len(wrote))
		}
	}
}

// TestExpansionOfAnUnknownGraph: rows of versions that did not say of which graph are made again.
func TestExpansionOfAnUnknownGraph(t *testing.T) {
	id, _ := testThunk(t, 7)
	sub := testJob(t, 1, 3)
	for graph, want := range map[wire.Object]bool{{}: false, {Kind: wire.Graph, Digest: wire.Digest{6}, Size: 9}: true} {
		j := openJournal(t, t.TempDir())
		must(t, j.Write([]sched.Row{sched.RowExpansion{Expanded: sched.Expanded{Space: "anna", Thunk: id, Output: 2, Graph: graph, Tasks: sub.Tasks, Target: sub.Targets[0]}}}))
		if rows := loadAll(t, j); len(rows) > 0 != want {
			t.Errorf("an expansion of graph %v gives %d rows", graph, len(rows))
		}
	}
}

func TestJournalForgetsWithdrawnValues(t *testing.T) {
	j := openJournal(t, t.TempDir())
	id, _ := testThunk(t, 7)
	other, _ := testThunk(t, 8)
	value := sched.RowValue{Space: "anna", Thunk: id, Value: wire.NewValue([]wire.Object{wire.FileObject(wire.BlobID{1}, 5, true)}), By: sched.Voucher{Signer: wire.PeerID{3}}}
	kept := value
	kept.Thunk = other
	must(t, j.Write([]sched.Row{value, kept, sched.RowWithdrawn{Space: "ben", Thunk: other}, sched.RowWithdrawn{Space: "anna", Thunk: id}}))
	if diff := cmp.Diff([]sched.Row{kept}, loadAll(t, j), cmp.AllowUnexported(wire.Value{})); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}
}

func TestJournalForgetsTasksOfEndedJobs(t *testing.T) {
	j := openJournal(t, t.TempDir())
	sub := testJob(t, 1, 3)
	done := &wire.Done{Counts: wire.Counts{Tasks: 3, Ran: 3}}
	status := &wire.JobStatus{Job: sub.Job, Name: "job", State: "done"}
	at := time.UnixMicro(2e15)
	must(t, j.Write([]sched.Row{sched.RowJob{Submitted: sub}}))
	must(t, j.Write([]sched.Row{sched.RowJobState{Job: sub.Job, Done: done, Status: status, At: at}}))
	must(t, j.Write([]sched.Row{sched.RowJobState{Job: sub.Job, Released: true, At: at.Add(time.Hour)}}))
	want := []sched.Row{sched.RowJobState{Job: sub.Job, Done: done, Status: status, Released: true, At: at}}
	if diff := cmp.Diff(want, loadAll(t, j)); diff != "" {
		t.Errorf("Load of an ended, released job (-want +got):\n%s", diff)
	}
}

func TestJournalKeepsTheLastEndedJobs(t *testing.T) {
	j := openJournal(t, t.TempDir())
	for i := range keepEnded + 50 {
		id := wire.JobID{}
		binary.BigEndian.PutUint64(id[:], uint64(i+1))
		must(t, j.Write([]sched.Row{sched.RowJobState{Job: id, Done: &wire.Done{}, At: time.UnixMicro(int64(i))}}))
	}
	rows := loadAll(t, j)
	if len(rows) != keepEnded {
		t.Errorf("Load yields %d ended jobs, want %d", len(rows), keepEnded)
	}
	first := rows[0].(sched.RowJobState).Job
	if n := binary.BigEndian.Uint64(first[:]); n != 51 {
		t.Errorf("oldest job kept is number %d, want 51", n)
	}
}

func TestJournalEpochsAndTickets(t *testing.T) {
	dir := t.TempDir()
	var first []byte
	for want := uint32(1); want <= 3; want++ {
		j := openJournal(t, dir)
		got, secret, err := j.Begin()
		if got != want || err != nil {
			t.Errorf("Begin() = %d, %v, want %d", got, err, want)
		}
		if want == 1 {
			first = secret
		}
		if len(secret) != 32 || !bytes.Equal(secret, first) {
			t.Errorf("the secret of life %d is %x, of the first %x", want, secret, first)
		}
		first, err := j.Redeem(99, 1)
		if err != nil || first != (want == 1) {
			t.Errorf("Redeem in life %d = %v, %v, want %v", want, first, err, want == 1)
		}
		if good, err := j.Redeem(98, 2); err != nil || good != (want <= 2) {
			t.Errorf("Redeem of a ticket for two in life %d = %v, %v", want, good, err)
		}
		j.Close()
	}
}

func TestJournalInUseNamesTheDirectory(t *testing.T) {
	dir := t.TempDir()
	openJournal(t, dir)
	_, err := OpenJournal(dir, slog.New(slog.DiscardHandler))
	if wire.CauseOf(err) != wire.CauseBusy {
		t.Errorf("second OpenJournal: %v, want cause busy", err)
	}
}

func TestJournalThatIsNoDatabase(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "coord.db"), []byte("this is not a database, it is a letter"), 0o600))
	if _, err := OpenJournal(dir, slog.New(slog.DiscardHandler)); wire.CauseOf(err) != wire.CauseDisk {
		t.Errorf("OpenJournal of a letter: %v, want cause disk", err)
	}
}

// downgrade makes of tables what they were before rows had seals.
func downgrade(t *testing.T, path string, format []byte) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	must(t, err)
	var strip func(b *bbolt.Bucket) error
	strip = func(b *bbolt.Bucket) error {
		rows := map[string][]byte{}
		err := b.ForEach(func(k, v []byte) error {
			if v == nil {
				return strip(b.Bucket(k))
			}
			rows[string(k)] = bytes.Clone(v[sealSize:])
			return nil
		})
		for k, v := range rows {
			err = errors.Join(err, b.Put([]byte(k), v))
		}
		return err
	}
	must(t, db.Update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		epoch := bytes.Clone(meta.Get(keyEpoch)[sealSize:])
		err := errors.Join(meta.Delete(keyTally), meta.Delete(keySecret), meta.Delete(keyFormat), meta.Put(keyEpoch, epoch), tx.DeleteBucket(bucketUnpins))
		if format != nil {
			err = errors.Join(err, meta.Put(keyFormat, format))
		}
		for _, name := range tables {
			if b := tx.Bucket(name); b != nil {
				err = errors.Join(err, strip(b))
			}
		}
		return err
	}))
	must(t, db.Close())
}

// Tables of before there were seals, or a format, are converted; those of a newer coord are left alone.
func TestJournalOfOtherVersions(t *testing.T) {
	for name, format := range map[string][]byte{"without a format": nil, "1": {0, 0, 0, 1}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			j := openJournal(t, dir)
			must(t, j.Write(someRows(t, 30)))
			_, _, err := j.Begin()
			must(t, err)
			want := slices.DeleteFunc(loadAll(t, j), func(r sched.Row) bool { _, is := r.(sched.RowUnpin); return is })
			must(t, j.Close())
			downgrade(t, filepath.Join(dir, "coord.db"), format)
			for life := uint32(2); life <= 3; life++ {
				j = openJournal(t, dir)
				if diff := cmp.Diff(want, loadAll(t, j), cmp.AllowUnexported(wire.Value{})); diff != "" {
					t.Errorf("Load in life %d (-want +got):\n%s", life, diff)
				}
				if epoch, _, err := j.Begin(); epoch != life || err != nil {
					t.Errorf("Begin() = %d, %v, want %d", epoch, err, life)
				}
				must(t, j.Close())
			}
		})
	}
	t.Run("newer", func(t *testing.T) {
		dir := t.TempDir()
		must(t, openJournal(t, dir).Close())
		downgrade(t, filepath.Join(dir, "coord.db"), []byte{0, 0, 0, tableFormat + 1})
		before, err := os.ReadFile(filepath.Join(dir, "coord.db"))
		must(t, err)
		if _, err := OpenJournal(dir, slog.New(slog.DiscardHandler)); wire.CauseOf(err) != wire.CauseVersion {
			t.Errorf("OpenJournal of a newer format: %v, want cause version", err)
		}
		if after, err := os.ReadFile(filepath.Join(dir, "coord.db")); err != nil || !bytes.Equal(before, after) {
			t.Errorf("the file is another after the refusal: %v", err)
		}
	})
}

// someRows are some of every kind, with a job of so many tasks.
func someRows(t *testing.T, tasks int) []sched.Row {
	sub := testJob(t, 1, tasks)
	rows := []sched.Row{sched.RowJob{Submitted: sub}, sched.RowJob{Submitted: testJob(t, 2, 3)},
		sched.RowJobState{Job: wire.JobID{2}, Cancelled: true, At: time.UnixMicro(3e15)},
		sched.RowQuarantine{Quarantined: sched.Quarantined{Peer: wire.PeerID{8}, Reason: "it lied", Lied: true, At: time.UnixMicro(1e15)}},
		sched.RowUnpin{Peer: wire.PeerID{4}, Pin: wire.Pin{Space: "anna", Owner: "j1", Object: wire.FileObject(wire.BlobID{1}, 1, false)}}}
	for i := range 100 {
		id, _ := testThunk(t, i)
		value := wire.NewValue([]wire.Object{wire.FileObject(wire.BlobID{1, byte(i)}, 5, true)})
		rows = append(rows, sched.RowValue{Space: "anna", Thunk: id, Value: value, By: sched.Voucher{Signer: wire.PeerID{3}}, Run: time.Second})
		if i < 3 {
			rows = append(rows, sched.RowExpansion{Expanded: sched.Expanded{Space: "anna", Thunk: id, Output: 2, Graph: wire.Object{Kind: wire.Graph, Digest: wire.Digest{6}, Size: 9}, Tasks: sub.Tasks[:3], Target: sub.Targets[0]}})
		}
	}
	for i := range 5 {
		job := wire.JobID{9, byte(i)}
		rows = append(rows, sched.RowJobState{Job: job, Done: &wire.Done{}, Status: &wire.JobStatus{Job: job, Name: "job", State: "done"}, At: time.UnixMicro(2e15)})
	}
	return rows
}

func FuzzUnpackTasks(f *testing.F) {
	f.Add(packTasks([]wire.TaskSpec{{Name: "a", Thunk: []byte{1, 2}}, {Name: "b"}}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		tasks, err := unpackTasks(b)
		if err != nil {
			return
		}
		again, err := unpackTasks(packTasks(tasks))
		if err != nil || !cmp.Equal(tasks, again) {
			t.Errorf("tasks change in a round trip: %v, %v", again, err)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
