package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

// A run is one command in a slot.
type run struct {
	slot   *slot
	spec   *Spec
	limits Limits
	out    [2]stream // stdout, stderr
	reply  reply
	job    int  // descriptor of what the command left; -1 if it did not start
	late   bool // it was killed at its timeout
	pause  *Pause
	net    []string // variables of the network that the command is on
}

func (s *slot) run(ctx context.Context, spec *Spec) (Report, error) {
	r := &run{slot: s, spec: spec, limits: spec.Limits.withDefaults(), pause: spec.Pause, job: -1}
	if r.pause == nil {
		r.pause = new(Pause)
	}
	defer r.release()
	err := r.execute(ctx)
	if errors.Is(err, errDiedIdle) { // between runs; nothing has begun
		s.stop()
		err = r.execute(ctx)
	}
	if err != nil {
		// The zygote may itself have been the largest in its cgroup.
		starved := s.zygote != nil && s.zygote.group != nil && s.zygote.group.outOfMemory()
		s.stop()
		if starved && ctx.Err() == nil {
			return r.report(r.outOfMemory()), nil
		}
	}
	switch {
	case ctx.Err() != nil:
		return Report{}, ctx.Err()
	case s.engine.ctx.Err() != nil:
		return Report{}, errClosed
	case err != nil:
		return Report{}, err
	}
	if f, err := r.verdict(); f != nil || err != nil || spec.Session != nil {
		return r.report(f), err
	}
	c := collector{ctx: ctx, sink: spec.Sink, job: r.job, spec: spec, streams: &r.out,
		filesLeft: r.limits.OutputFiles, bytesLeft: r.limits.OutputBytes}
	outputs, failure, err := c.collect(spec.Outputs)
	if err != nil {
		return Report{}, err
	}
	rep := r.report(failure)
	if failure == nil {
		rep.Outputs = outputs
	}
	return rep, nil
}

func (r *run) release() {
	if r.job >= 0 {
		unix.Close(r.job)
		r.job = -1
	}
	for i := range r.out {
		if r.out[i].whole != nil {
			r.out[i].whole.Close()
		}
	}
}

var errDiedIdle = errors.New("the slot's process is gone")

// execute runs the command to its end. After an error the zygote is of no more use.
func (r *run) execute(ctx context.Context) error {
	s := r.slot
	if s.zygote == nil {
		if err := s.start(); err != nil {
			return err
		}
	}
	z := s.zygote
	if z.group != nil {
		if err := z.group.limit(r.limits); err != nil {
			return sandboxError(err)
		}
	}
	if r.spec.Net != nil {
		leave, env, err := s.join(r.spec.Net)
		if err != nil {
			return err
		}
		defer leave()
		if err := r.spec.Net.Await(ctx); err != nil {
			return err
		}
		r.net = env
	}
	r.openStreams()
	z.seq++
	k := &killer{zygote: z, seq: z.seq, pause: r.pause}
	defer k.over()
	for _, c := range []context.Context{ctx, s.engine.ctx} {
		defer context.AfterFunc(c, func() { k.kill(false) })()
	}
	var freeze func(bool) error
	if z.group != nil && z.group.freezer != nil {
		freeze = z.group.hold
	}
	defer r.pause.end()
	d, err := r.begin(func() { r.pause.begin(r.limits.Wall, func() { k.kill(true) }, freeze) })
	if err != nil {
		return err
	}
	z.in.idle = k.looker()
	if r.spec.Session == nil {
		d.until(z.sock, z.in.idle)
	} else { // a person may not want to read now
		d.apart.Go(func() { d.until(-1, nil) })
	}
	fds, err := z.in.receive(&r.reply)
	r.late = k.over()
	r.pause.end()
	if len(fds) == 1 {
		r.job = fds[0]
	} else {
		closeAll(fds)
	}
	if err != nil {
		z.cmd.Process.Kill() // or the streams never end
		d.wait()
		return wire.Errorf(wire.CauseSandbox, "see the log",
			"the slot's process ended in the middle of a run (%v)", err)
	}
	d.wait()
	return nil
}

func sandboxError(err error) error {
	var e *wire.Error
	if errors.As(err, &e) || errors.Is(err, errDiedIdle) {
		return err
	}
	return wire.Errorf(wire.CauseSandbox, "", "running in the sandbox: %v", err)
}

// openStreams prepares the draining of standard output and error.
func (r *run) openStreams() {
	r.release()
	r.out[0] = stream{live: r.spec.Stdout, room: r.spec.streamRoom(r.limits)}
	r.out[1] = stream{live: r.spec.Stderr, room: r.spec.streamRoom(r.limits)}
	for i := range r.out {
		if r.spec.Session == nil && slices.ContainsFunc(r.spec.Outputs, func(o wire.Output) bool { return r.spec.streamOf(o.Path) == i }) {
			r.out[i].spool, r.out[i].limit = r.slot.engine.spool, r.limits.OutputBytes
		}
	}
}

// begin sends everything to the zygote, the Exec last, before which it calls starts. The streams are
// to be drained until both have ended.
func (r *run) begin(starts func()) (d *drain, err error) {
	s, spec := r.slot, r.spec
	b := &batch{slot: s}
	defer b.drop()
	if err := r.layOut(b); err != nil {
		return nil, err
	}
	x := execRequest{Seq: s.zygote.seq, Argv: spec.Argv, Env: environment(with(spec.Env, r.net), spec.cwd()),
		Net: spec.Net != nil, Empty: spec.Stdin == "", Job: spec.JobDir, Cwd: spec.cwd()}
	if s.zygote.group == nil || s.zygote.group.pids == "" {
		x.Pids = r.limits.Pids + zygoteThreads
	}
	if s.zygote.group == nil || s.zygote.group.memory == "" {
		x.Mem = r.limits.MemBytes
	}
	d, theirs, err := r.newDrain()
	if err != nil {
		return nil, sandboxError(err)
	}
	b.fds = append(b.fds, theirs...)
	var session *os.File
	var join func()
	switch {
	case spec.Session != nil:
		session, join, err = r.attend(b, &x)
	case !x.Empty:
		x.Stdin, err = b.tree(spec.Stdin)
	}
	b.q.Work, b.q.Exec = spec.WorkDir, &x
	if err == nil {
		starts()
		err = b.flush()
	}
	if err != nil {
		d.drop()
		session.Close()
		return nil, sandboxError(err)
	}
	if join != nil {
		d.apart.Go(join)
	}
	return d, nil
}

// layOut sends the root and the inputs, in sorted order.
func (r *run) layOut(b *batch) error {
	spec := r.spec
	inputs := arrange(spec)
	copied, files, err := weigh(inputs)
	if err != nil {
		return inputError(err)
	}
	// One more than fits, since one that is full cannot be told from one that is too small.
	b.q.Bytes = r.slot.engine.scratchBytes(r.limits) + copied + int64(os.Getpagesize())
	b.q.Inodes = int64(r.limits.OutputFiles) + files + 1
	if err := b.root(spec.Root, spec.Net != nil); err != nil {
		return sandboxError(err)
	}
	for i := range inputs {
		if err := b.input(&inputs[i]); err != nil {
			return inputError(fmt.Errorf("laying out %q: %w", inputs[i].Path, err))
		}
	}
	return nil
}

// inputError is about an input that is not there, or not what it should be: the store's doing.
func inputError(err error) error {
	return wire.Errorf(wire.CauseSandbox, "the store of this node may have lost it", "%v", err)
}

// arrange returns the inputs in the order of their paths. Those that overlap an output are
// Writable: the command could not make the output otherwise.
func arrange(spec *Spec) []Input {
	inputs := slices.SortedFunc(slices.Values(spec.Inputs), func(a,
		b Input) int {
		return strings.Compare(a.Path, b.Path)
	})
	var outs []string
	for _, o := range spec.Outputs {
		if spec.streamOf(o.Path) < 0 {
			outs = append(outs, o.Path)
		}
		if o.Graph != "" {
			outs = append(outs, o.Graph)
		}
	}
	slices.Sort(outs)
	for i := range inputs {
		p := inputs[i].Path
		inputs[i].Writable = inputs[i].Writable || overlaps(p, outs)
	}
	return inputs
}

// overlaps reports whether p is one of the sorted paths, or above or below one.
func overlaps(p string, sorted []string) bool {
	for d := p; d != "."; d = path.Dir(d) {
		if _, ok := slices.BinarySearch(sorted, d); ok {
			return true
		}
	}
	i, _ := slices.BinarySearch(sorted, p+"/")
	return i < len(sorted) && strings.HasPrefix(sorted[i], p+"/")
}

// weigh returns the room that copies of inputs take in /job: bytes and inodes.
func weigh(inputs []Input) (bytes, inodes int64, err error) {
	for i := range inputs {
		in := &inputs[i]
		inodes += 2 + int64(strings.Count(in.Path, "/"))
		switch {
		case in.Dir && in.Writable:
			err = filepath.WalkDir(in.Source, func(_ string, d fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				inodes++
				if info, err := d.Info(); err == nil && d.Type().IsRegular() {
					bytes += pages(info.Size())
				}
				return nil
			})
		case in.Writable:
			var info fs.FileInfo
			if info, err = os.Stat(in.Source); err == nil {
				bytes += pages(info.Size())
			}
		case !in.Dir:
			bytes += inlineMax
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return bytes, inodes, nil
}

func pages(n int64) int64 { return (n + 4095) &^ 4095 }

// scratchBytes is the size of /job, and of /tmp. Where no cgroup counts them as memory, all
// slots together get half of the machine's.
func (e *Engine) scratchBytes(l Limits) int64 {
	if e.groups.memory != "" {
		return l.OutputBytes
	}
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return l.OutputBytes
	}
	return min(l.OutputBytes, max(64<<20, int64(si.Totalram)*int64(si.Unit)/int64(4*e.config.Slots)))
}
