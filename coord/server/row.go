package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"gaggle/coord/sched"
	"gaggle/wire"
)

var errMalformed = errors.New("malformed row")

type valueRow struct {
	Value  []byte        `cbor:"v"`
	Signer wire.PeerID   `cbor:"s"`
	Run    time.Duration `cbor:"r,omitempty"`
	Owner  string        `cbor:"o,omitempty"` // of the signer
	Sig    []byte        `cbor:"g,omitempty"` // of its claim
	Also   []voucherRow  `cbor:"a,omitempty"`
}

type voucherRow struct {
	Signer wire.PeerID `cbor:"s"`
	Owner  string      `cbor:"o,omitempty"`
	Sig    []byte      `cbor:"g,omitempty"`
}

type expansionRow struct {
	Tasks  []byte          `cbor:"tasks"` // see packTasks
	Target wire.TargetSpec `cbor:"target"`
	Graph  wire.Object     `cbor:"graph"` // older versions did not say it
}

// jobRow is a Submitted without its tasks.
type jobRow struct {
	Space     wire.Space        `cbor:"space"`
	Tenant    string            `cbor:"tenant"`
	Name      string            `cbor:"name"`
	Client    wire.PeerID       `cbor:"client"`
	Detach    bool              `cbor:"detach,omitempty"`
	KeepGoing bool              `cbor:"keep_going,omitempty"`
	Twice     bool              `cbor:"twice,omitempty"`
	Verify    int               `cbor:"verify,omitempty"`
	Trust     wire.Trust        `cbor:"trust,omitempty"`
	Owner     string            `cbor:"owner,omitempty"` // of the client
	Targets   []wire.TargetSpec `cbor:"targets"`
	At        int64             `cbor:"at"`
	Tasks     int               `cbor:"tasks"`
}

type endRow struct {
	Cancelled bool            `cbor:"cancelled,omitempty"`
	Released  bool            `cbor:"released,omitempty"`
	Done      *wire.Done      `cbor:"done,omitempty"`
	Status    *wire.JobStatus `cbor:"status,omitempty"`
	At        int64           `cbor:"at"`
}

type shutRow struct {
	Reason string `cbor:"reason"`
	ByHand bool   `cbor:"by_hand,omitempty"`
	Lied   bool   `cbor:"lied,omitempty"`
	At     int64  `cbor:"at"`
}

func newShutRow(q sched.Quarantined) shutRow {
	return shutRow{Reason: q.Reason, ByHand: q.ByHand, Lied: q.Lied, At: q.At.UnixMicro()}
}

func getShut(k, v []byte) (q sched.Quarantined, err error) {
	var r shutRow
	if len(k) != len(q.Peer) {
		return q, errMalformed
	}
	if err := wire.Unmarshal(v, &r); err != nil {
		return q, err
	}
	return sched.Quarantined{Peer: wire.PeerID(k), Reason: r.Reason, ByHand: r.ByHand, Lied: r.Lied, At: time.UnixMicro(r.At)}, nil
}

type unpinRow struct {
	Object wire.Object `cbor:"object"`
	Owner  string      `cbor:"owner"`
	Space  wire.Space  `cbor:"space"`
}

// unpinKey begins with the peer; what follows only has to differ.
func unpinKey(r sched.RowUnpin) []byte {
	key := append(append(append([]byte{}, r.Peer[:]...), r.Pin.Space...), 0)
	return append(append(key, r.Pin.Object.Digest[:]...), r.Pin.Owner...)
}

func newUnpinRow(r sched.RowUnpin) unpinRow {
	return unpinRow{Object: r.Pin.Object, Owner: r.Pin.Owner, Space: r.Pin.Space}
}

func getUnpin(k, v []byte) (row sched.RowUnpin, err error) {
	var r unpinRow
	if err := wire.Unmarshal(v, &r); err != nil {
		return row, err
	}
	if len(k) < len(row.Peer) {
		return row, errMalformed
	}
	copy(row.Peer[:], k)
	row.Pin = wire.Pin{Space: r.Space, Object: r.Object, Owner: r.Owner}
	return row, nil
}

func put(s section, key []byte, v any) error {
	enc, err := wire.Marshal(v)
	if err != nil {
		return err
	}
	return s.put(key, enc)
}

func thunkKey(space wire.Space, id wire.ThunkID) []byte {
	return append(append([]byte(space), 0), id[:]...)
}

// splitKey takes apart a thunkKey followed by extra bytes.
func splitKey(k []byte, extra int) (space wire.Space, id wire.ThunkID, rest []byte, err error) {
	i := bytes.IndexByte(k, 0)
	if i < 0 || len(k) != i+1+len(id)+extra {
		return "", id, nil, errMalformed
	}
	copy(id[:], k[i+1:])
	return wire.Space(k[:i]), id, k[i+1+len(id):], nil
}

func newValueRow(r sched.RowValue) valueRow {
	_, enc := r.Value.Encode()
	row := valueRow{Value: enc, Signer: r.By.Signer, Run: r.Run, Owner: r.By.Owner, Sig: []byte(r.By.Signature)}
	for _, v := range r.Also {
		row.Also = append(row.Also, voucherRow{v.Signer, v.Owner, []byte(v.Signature)})
	}
	return row
}

func getValue(k, v []byte) (row sched.RowValue, err error) {
	if row.Space, row.Thunk, _, err = splitKey(k, 0); err != nil {
		return row, err
	}
	var r valueRow
	if err := wire.Unmarshal(v, &r); err != nil {
		return row, err
	}
	row.By, row.Run = sched.Voucher{Signer: r.Signer, Owner: r.Owner, Signature: string(r.Sig)}, r.Run
	for _, v := range r.Also {
		row.Also = append(row.Also, sched.Voucher{Signer: v.Signer, Owner: v.Owner, Signature: string(v.Sig)})
	}
	row.Value, err = wire.DecodeValue(r.Value)
	return row, err
}

func newExpansionRow(r sched.RowExpansion) expansionRow {
	return expansionRow{Tasks: packTasks(r.Expanded.Tasks), Target: r.Expanded.Target, Graph: r.Expanded.Graph}
}

func getExpansion(k, v []byte) (row sched.RowExpansion, err error) {
	e := &row.Expanded
	var out []byte
	if e.Space, e.Thunk, out, err = splitKey(k, 4); err != nil {
		return row, err
	}
	e.Output = int(binary.BigEndian.Uint32(out))
	var r expansionRow
	if err := wire.Unmarshal(v, &r); err != nil {
		return row, err
	}
	if r.Graph.Kind != wire.Graph {
		return row, errMalformed
	}
	e.Target, e.Graph = r.Target, r.Graph
	e.Tasks, err = unpackTasks(r.Tasks)
	return row, err
}

// chunkTasks is how many tasks share a zstd frame: tasks of one template differ in little, so
// many in a frame cost few bytes each.
const chunkTasks = 1024

// chunkBytes bounds the thunks of a chunk, but for one larger one, far below maxUnpacked.
const chunkBytes = 16 << 20

func writeJob(jobs section, s sched.Submitted) error {
	if err := jobs.drop(s.Job[:]); err != nil {
		return err
	}
	b, err := jobs.open(s.Job[:])
	if err != nil {
		return err
	}
	head := jobRow{Space: s.Space, Tenant: s.Tenant, Name: s.Name, Client: s.Client, Detach: s.Detach,
		KeepGoing: s.KeepGoing, Twice: s.Twice, Verify: s.Verify, Trust: s.Trust, Owner: s.Owner, Targets: s.Targets, At: s.At.UnixMicro(), Tasks: len(s.Tasks)}
	if err := put(b, keyHead, head); err != nil {
		return err
	}
	for i := 0; i < len(s.Tasks); {
		n := chunkEnd(s.Tasks[i:])
		if err := b.put(binary.BigEndian.AppendUint32(nil, uint32(i)), packTasks(s.Tasks[i:i+n])); err != nil {
			return err
		}
		i += n
	}
	return nil
}

// chunkEnd returns how many of the tasks go into one chunk.
func chunkEnd(tasks []wire.TaskSpec) int {
	bytes := 0
	for n := range tasks {
		if bytes += len(tasks[n].Thunk); n > 0 && (n == chunkTasks || bytes > chunkBytes) {
			return n
		}
	}
	return len(tasks)
}

func getJob(b section) (s sched.Submitted, err error) {
	var head jobRow
	v, err := b.get(keyHead)
	if err == nil {
		err = wire.Unmarshal(v, &head)
	}
	if err != nil {
		return s, err
	}
	err = b.forEach(func(k, v []byte) error {
		if len(k) != 4 || bytes.Equal(k, keyHead) {
			return nil
		}
		tasks, err := unpackTasks(v)
		s.Tasks = append(s.Tasks, tasks...)
		return err
	})
	if err == nil && len(s.Tasks) != head.Tasks {
		err = fmt.Errorf("%w: %d tasks of %d", errMalformed, len(s.Tasks), head.Tasks)
	}
	s.Space, s.Tenant, s.Name, s.Client = head.Space, head.Tenant, head.Name, head.Client
	s.Detach, s.KeepGoing, s.Twice, s.Verify, s.Targets, s.At = head.Detach, head.KeepGoing, head.Twice, head.Verify, head.Targets, time.UnixMicro(head.At)
	s.Trust, s.Owner = head.Trust, head.Owner
	return s, err
}

func newEndRow(r sched.RowJobState) endRow {
	return endRow{Cancelled: r.Cancelled, Released: r.Released, Done: r.Done, Status: r.Status, At: r.At.UnixMicro()}
}

func getEnd(v []byte) (e endRow, err error) {
	if v == nil {
		return e, errMalformed
	}
	return e, wire.Unmarshal(v, &e)
}

// coders are safe for concurrent EncodeAll and DecodeAll; making them is not cheap.
var coders = sync.OnceValues(func() (*zstd.Encoder, *zstd.Decoder) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err) // the options are constant
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxUnpacked))
	if err != nil {
		panic(err)
	}
	return enc, dec
})

// maxUnpacked bounds what a chunk may grow to: a sub-graph, which is recorded in one, holds at most
// 256 MiB of thunks.
const maxUnpacked = 1 << 30

// packTasks encodes tasks one message after another, so that no message exceeds wire.MaxFrame.
func packTasks(tasks []wire.TaskSpec) []byte {
	var raw []byte
	for i := range tasks {
		b, err := wire.Marshal(&tasks[i])
		if err != nil {
			panic(fmt.Sprintf("server: encoding a task: %v", err)) // plain data
		}
		raw = binary.AppendUvarint(raw, uint64(len(b)))
		raw = append(raw, b...)
	}
	enc, _ := coders()
	return enc.EncodeAll(raw, nil)
}

func unpackTasks(b []byte) (tasks []wire.TaskSpec, err error) {
	_, dec := coders()
	raw, err := dec.DecodeAll(b, nil)
	if err != nil {
		return nil, err
	}
	for len(raw) > 0 {
		n, k := binary.Uvarint(raw)
		if k <= 0 || n > uint64(len(raw)-k) {
			return nil, errMalformed
		}
		var t wire.TaskSpec
		if err := wire.Unmarshal(raw[k:k+int(n)], &t); err != nil {
			return nil, err
		}
		tasks, raw = append(tasks, t), raw[k+int(n):]
	}
	return tasks, nil
}
