package sandbox

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A batch collects requests about one run and sends them. A slot's zygote does not reply before
// Exec, so errors on its side come with that reply.
type batch struct {
	slot *slot
	q    request
	fds  []int // of q, closed when it is sent
	size int   // of q, about
}

// room makes room for something of about n bytes with a descriptor in the current request.
func (b *batch) room(n int) error {
	if b.size+n > maxPacket/2 || len(b.fds)+4 > maxFDs {
		return b.flush()
	}
	b.size += n
	return nil
}

func (b *batch) flush() error {
	err := send(b.slot.zygote.sock, &b.q, b.fds)
	if err == unix.EPIPE || err == unix.ECONNRESET {
		err = errDiedIdle // as it has not had Exec
	}
	b.drop()
	b.q.Root, b.q.Inputs, b.q.Exec, b.size = nil, nil, nil, 0
	return err
}

func (b *batch) drop() {
	closeAll(b.fds)
	b.fds = nil
}

// tree names a host path to the zygote: as a mount where it could not go there itself.
func (b *batch) tree(p string) (source string, err error) {
	p, err = filepath.Abs(p)
	if err != nil || !b.slot.engine.distinct {
		return p, err
	}
	fd, err := cloneTree(b.slot.engine.slash, p)
	if err == nil && b.slot.zygote.owner >= 0 {
		err = giveTo(fd, b.slot.zygote.owner)
	}
	if err != nil {
		return "", fmt.Errorf("cloning %s: %w", p, err)
	}
	b.fds = append(b.fds, fd)
	return "", nil
}

// root selects the root tree at p, as commands on a network see it or others, and has it mounted if it
// is not.
func (b *batch) root(p string, net bool) error {
	z := b.slot.zygote
	var st unix.Stat_t
	if err := unix.Stat(p, &st); err != nil {
		return fmt.Errorf("opening the root %s: %w", p, err)
	}
	want := mountedRoot{path: p, net: net, dev: uint64(st.Dev), ino: st.Ino}
	oldest := 0
	for i := range z.roots {
		if r := &z.roots[i]; r.path == want.path && r.net == want.net && r.dev == want.dev && r.ino == want.ino {
			r.used, b.q.Use = z.seq, i
			return nil
		}
		if z.roots[i].used < z.roots[oldest].used {
			oldest = i
		}
	}
	source, err := b.tree(p)
	if err != nil {
		return err
	}
	want.used = z.seq
	z.roots[oldest] = want
	b.q.Root, b.q.Use = &rootRequest{Index: oldest, Source: source, Net: net}, oldest
	return nil
}

// inlineMax is the size up to which a file is copied rather than bound, both ways of the mount
// counted. A copy takes a page of memory at least; 1,000 files of 1 KiB cost the same either way,
// of 15 KiB a copy costs 4 times a mount, of 64 KiB 4 to 9 times (make bench BENCH=Inputs).
const inlineMax = 4 << 10

// input lays out one input.
func (b *batch) input(in *Input) error {
	q := inputRequest{Path: in.Path, Dir: in.Dir, Exec: in.Exec, Writable: in.Writable}
	size := len(in.Path) + len(in.Source) + 64
	switch {
	case in.Dir:
		if err := b.room(size); err != nil {
			return err
		}
		var err error
		if q.Source, err = b.tree(in.Source); err != nil {
			return err
		}
	default:
		f, err := os.Open(in.Source)
		if err != nil {
			return err
		}
		defer f.Close()
		i, err := f.Stat()
		if err != nil {
			return err
		}
		if !i.Mode().IsRegular() {
			return fmt.Errorf("opening %s: not a regular file", in.Source)
		}
		if i.Size() <= inlineMax {
			q.Data = make([]byte, i.Size())
			q.Inline = true
			if _, err := io.ReadFull(f, q.Data); err != nil {
				return err
			}
			size += len(q.Data)
		}
		if err := b.room(size); err != nil {
			return err
		}
		if err := b.file(&q, in, f); err != nil {
			return err
		}
	}
	b.q.Inputs = append(b.q.Inputs, q)
	return nil
}

// file adds the descriptor or path of a file that is not inline.
func (b *batch) file(q *inputRequest, in *Input, f *os.File) (err error) {
	switch {
	case q.Inline:
	case q.Writable:
		var fd int
		if fd, err = unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			b.fds = append(b.fds, fd)
		}
	default:
		q.Source, err = b.tree(in.Source)
	}
	return err
}
