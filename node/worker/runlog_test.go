package worker

import (
	"fmt"
	"strings"
	"testing"

	"gaggle/wire"
)

// readAll reads what a log keeps, each change of the stream marked.
func readAll(l *runLog, pos int64) (string, int64) {
	var s strings.Builder
	stderr := false
	for {
		p, next, _ := l.read(pos, 10)
		if len(p.data) == 0 {
			return s.String(), pos
		}
		if p.stderr != stderr {
			s.WriteByte('|')
			stderr = p.stderr
		}
		s.Write(p.data)
		pos = next
	}
}

func TestRunLogOrder(t *testing.T) {
	var book logbook
	book.init()
	l := book.open(logKey{space: "t"})
	out, err := l.writer(false), l.writer(true)
	for i := range 3 {
		fmt.Fprintf(out, "out %d, a longer line\n", i)
		fmt.Fprintf(err, "err %d\n", i)
	}
	s, pos := readAll(l, 0)
	want := "out 0, a longer line\n|err 0\n|out 1, a longer line\n|err 1\n|out 2, a longer line\n|err 2\n"
	if s != want {
		t.Errorf("log = %q, want %q", s, want)
	}
	_, _, more := l.read(pos, 10)
	select {
	case <-more:
		t.Error("more before there is more")
	default:
	}
	fmt.Fprint(out, "x")
	<-more
	book.end(l)
	if s, pos = readAll(l, pos); s != "x" {
		t.Errorf("rest = %q, want x", s)
	}
	if p, _, more := l.read(pos, 10); len(p.data) > 0 || more != nil {
		t.Errorf("read at the end = %q, %v", p.data, more)
	}
}

func TestRunLogBounded(t *testing.T) {
	var l runLog
	w := l.writer(false)
	line := strings.Repeat("x", 1000) + "\n"
	for range 5000 {
		fmt.Fprint(w, line)
	}
	if l.size > keptBytes || l.size < keptBytes-2*smallPiece {
		t.Errorf("%d bytes kept, want about %d", l.size, keptBytes)
	}
	p, pos, _ := l.read(0, 100)
	if want := fmt.Sprintf("[%d bytes are not kept any more]\n", 5000*1001-l.size); string(p.data) != want {
		t.Errorf("first piece = %q, want %q", p.data, want)
	}
	s, end := readAll(&l, pos)
	if end != 5000*1001 || len(s) != l.size {
		t.Errorf("the rest is %d bytes up to %d", len(s), end)
	}
	fmt.Fprint(w, strings.Repeat("y", keptBytes+5))
	if _, end := readAll(&l, 0); end != 5000*1001+keptBytes+5 || l.size != keptBytes {
		t.Errorf("after one large write the end is %d, kept %d", end, l.size)
	}
}

func TestLogbookForgetsTheOldest(t *testing.T) {
	var b logbook
	b.init()
	key := func(i int) logKey {
		return logKey{"t", wire.ThunkID(wire.Sum(fmt.Append(nil, i)))}
	}
	for i := range keptRuns + 10 {
		l := b.open(key(i))
		l.keep(file("out"), wire.Object{})
		b.end(l)
	}
	if len(b.ended) != keptRuns || len(b.order) != keptRuns || len(b.running) != 0 {
		t.Errorf("%d ended, %d in order, %d running", len(b.ended), len(b.order), len(b.running))
	}
	if _, _, ok := b.find(key(9)); ok {
		t.Error("an old one is still there")
	}
	if _, ends, ok := b.find(key(10)); !ok || ends.stdout != file("out") {
		t.Errorf("find = %v, %v", ends, ok)
	}
}

// A second run of the same thunk takes the log over; the end of the first leaves it alone.
func TestLogbookSecondRun(t *testing.T) {
	var b logbook
	b.init()
	first := b.open(logKey{space: "t"})
	second := b.open(logKey{space: "t"})
	b.end(first)
	if l, _, ok := b.find(logKey{space: "t"}); !ok || l != second {
		t.Errorf("find = %p, %v, want the second", l, ok)
	}
}
