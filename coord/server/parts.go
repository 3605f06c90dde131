package server

import "gaggle/wire"

// What a job's end or its notices take can exceed a frame: each failure carries the ends of two
// streams. Here they are cut into parts by what they take when encoded.

const (
	// partBytes is about how much one response carries: far below wire.MaxFrame, so that one more
	// item, of at most two tails of wire.MaxTail for each of some attempts, still fits.
	partBytes = 1 << 20
	// fullTails is how many failures of a job keep the whole ends of their streams; the others,
	// which nobody reads one by one, keep shortTail bytes.
	fullTails = 20
	shortTail = 2 << 10
)

// writeDone writes the end of a job: some Parts if it is large, then Done.
func (c *client) writeDone(done wire.Done, grant []byte) error {
	part, size := &wire.Done{}, 0
	flush := func(n int) error {
		if size += n; size < partBytes {
			return nil
		}
		full := part
		part, size = &wire.Done{}, n
		return c.write(&wire.Response{Part: full})
	}
	for _, t := range done.Targets {
		if err := flush(128 + len(t.Path) + 40*len(t.Held.Peers)); err != nil {
			return err
		}
		part.Targets = append(part.Targets, t)
	}
	for i, f := range done.Failures {
		if i >= fullTails {
			f = shortened(f)
		}
		n := 256 + failureBytes(&f.Failure)
		for k := range f.Attempts {
			n += failureBytes(&f.Attempts[k])
		}
		if err := flush(n); err != nil {
			return err
		}
		part.Failures = append(part.Failures, f)
	}
	done.Targets, done.Failures, done.Grant = part.Targets, part.Failures, grant
	return c.write(&wire.Response{Done: &done})
}

// shortened returns f with less of its streams, sharing nothing that it changes.
func shortened(f wire.FailedTask) wire.FailedTask {
	short := func(b []byte) []byte { return b[max(0, len(b)-shortTail):] }
	f.Failure.Stdout, f.Failure.Stderr = short(f.Failure.Stdout), short(f.Failure.Stderr)
	f.Attempts = nil
	return f
}

func failureBytes(f *wire.Failure) int {
	return 256 + len(f.Message) + len(f.Hint) + len(f.Stdout) + len(f.Stderr)
}

// join puts successive notices into responses of up to wire.MaxBatch notices and about partBytes.
func join(rs []wire.Response) (joined []wire.Response) {
	size := 0
	for _, r := range rs {
		if r.Notices == nil {
			joined, size = append(joined, r), partBytes
			continue
		}
		for _, n := range r.Notices {
			bytes := 256 + len(n.Task) + len(n.Waiting)
			if n.Failure != nil {
				bytes += failureBytes(n.Failure)
			}
			k := len(joined) - 1
			if k < 0 || joined[k].Notices == nil || len(joined[k].Notices) >= wire.MaxBatch || size+bytes > partBytes {
				// A slice of our own: that of r is shared by all watchers.
				joined, size = append(joined, wire.Response{Notices: make([]wire.Notice, 0, 8)}), 0
				k++
			}
			joined[k].Notices = append(joined[k].Notices, n)
			size += bytes
		}
	}
	return joined
}
