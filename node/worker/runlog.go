package worker

import (
	"fmt"
	"io"
	"sort"
	"sync"

	"gaggle/wire"
)

// A logKey names a thunk in a space.
type logKey struct {
	space wire.Space
	thunk wire.ThunkID // resolved
}

// A logbook keeps the output of what runs, and knows where the ends of the latest runs are.
type logbook struct {
	mu      sync.Mutex // guards the fields below
	running map[logKey]*runLog
	ended   map[logKey]endedLog
	order   []logKey // of ended, oldest first
	readers int
}

// An endedLog is the kept ends of a run's streams, as blobs of the space.
type endedLog struct{ stdout, stderr wire.Object }

const (
	// keptRuns is how many ended runs are remembered.
	keptRuns = 1_000
	// keptBytes is how much of the output of a running thunk is kept for who looks in late.
	keptBytes = 1 << 20
	// smallPiece is up to what size writes are joined, for programs that write single characters.
	smallPiece = 4 << 10
)

func (b *logbook) init() {
	b.running = map[logKey]*runLog{}
	b.ended = map[logKey]endedLog{}
}

// open begins the log of a run. A log of an earlier run that has not ended is replaced.
func (b *logbook) open(key logKey) *runLog {
	l := &runLog{key: key}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running[key] = l
	return l
}

// end closes the log of a run: who follows it is told, and of one that ran the ends are
// remembered.
func (b *logbook) end(l *runLog) {
	ends, ran := l.end()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running[l.key] == l {
		delete(b.running, l.key)
	}
	if !ran {
		return
	}
	if _, known := b.ended[l.key]; !known {
		b.order = append(b.order, l.key)
	}
	b.ended[l.key] = ends
	if len(b.order) > keptRuns {
		delete(b.ended, b.order[0])
		b.order = b.order[1:]
	}
}

// find returns the log of a run under way, or else the ends of the last one.
func (b *logbook) find(key logKey) (l *runLog, ends endedLog, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l = b.running[key]; l != nil {
		return l, ends, true
	}
	ends, ok = b.ended[key]
	return nil, ends, ok
}

// A runLog is the last output of a running thunk, both streams in the order they were written.
// Positions count bytes from its beginning.
type runLog struct {
	key logKey

	mu      sync.Mutex // guards the fields below
	pieces  []piece
	first   int64         // position of the first piece
	size    int           // of the pieces
	changed chan struct{} // closed at the next change; nil while nobody waits
	ended   bool
	ran     bool
	ends    endedLog
}

// A piece is bytes of one stream.
type piece struct {
	at     int64 // position of its first byte
	stderr bool
	data   []byte
}

// writer returns where a stream goes. Writing never blocks and never fails.
func (l *runLog) writer(stderr bool) io.Writer { return logWriter{l, stderr} }

type logWriter struct {
	log    *runLog
	stderr bool
}

func (w logWriter) Write(b []byte) (int, error) {
	w.log.add(w.stderr, b)
	return len(b), nil
}

func (l *runLog) add(stderr bool, b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if over := len(b) - keptBytes; over > 0 {
		l.drop(len(l.pieces))
		l.first += int64(over)
		b = b[over:]
	}
	if n := len(l.pieces); n > 0 && l.pieces[n-1].stderr == stderr &&
		len(l.pieces[n-1].data)+len(b) <= smallPiece {
		l.pieces[n-1].data = append(l.pieces[n-1].data, b...)
	} else {
		l.pieces = append(l.pieces, piece{l.first + int64(l.size), stderr,
			append([]byte(nil), b...)})
	}
	l.size += len(b)
	n := 0
	for size := l.size; size > keptBytes; n++ {
		size -= len(l.pieces[n].data)
	}
	l.drop(n)
	l.change()
}

// drop forgets the first n pieces. Called under l.mu.
func (l *runLog) drop(n int) {
	for _, p := range l.pieces[:n] {
		l.first += int64(len(p.data))
		l.size -= len(p.data)
	}
	clear(l.pieces[:n])
	l.pieces = l.pieces[n:]
}

// change wakes those who follow. Called under l.mu.
func (l *runLog) change() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// keep says where the ends of the streams of a run that is over are stored.
func (l *runLog) keep(stdout, stderr wire.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ran, l.ends = true, endedLog{stdout, stderr}
}

// said returns the last of what the streams have carried so far, at most wire.MaxTail of each.
func (l *runLog) said() (stdout, stderr []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.pieces {
		if p.stderr {
			stderr = append(stderr, p.data...)
		} else {
			stdout = append(stdout, p.data...)
		}
	}
	return tail(stdout), tail(stderr)
}

func (l *runLog) end() (ends endedLog, ran bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.change()
	return l.ends, l.ran
}

// read returns a piece from position pos on and the position after it. If all was read the piece
// is empty, and either the log has ended or more is closed when there is more. Bytes that are not
// kept any more are told in a line of their own.
func (l *runLog) read(pos int64, limit int) (p piece, next int64, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if pos < l.first {
		line := fmt.Sprintf("[%d bytes are not kept any more]\n", l.first-pos)
		return piece{pos, true, []byte(line)}, l.first, nil
	}
	if pos < l.first+int64(l.size) {
		i := sort.Search(len(l.pieces), func(i int) bool { return l.pieces[i].at > pos }) - 1
		b := l.pieces[i].data[pos-l.pieces[i].at:]
		b = append([]byte(nil), b[:min(len(b), limit)]...)
		return piece{pos, l.pieces[i].stderr, b}, pos + int64(len(b)), nil
	}
	if l.ended {
		return piece{}, pos, nil
	}
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return piece{}, pos, l.changed
}
