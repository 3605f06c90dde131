package client

import (
	"io"
	"slices"

	"gaggle/wire"
)

// tell prints what the calls have said, in the order in which they were made.
func (d *deferral) tell() {
	d.telling.Lock()
	defer d.telling.Unlock()
	for {
		d.mu.Lock()
		first := slices.IndexFunc(d.calls, func(c *deferredCall) bool { return c.demanded })
		if first < 0 || !d.calls[first].ended {
			d.mu.Unlock()
			return
		}
		c := d.calls[first]
		d.calls = slices.Delete(d.calls, first, first+1)
		d.mu.Unlock()
		if c.err == nil {
			d.print(c, wire.Stdout, false)
			d.print(c, wire.Stderr, true)
		}
	}
}

// print sends one stream of a call to the command.
func (d *deferral) print(c *deferredCall, name string, stderr bool) {
	o := c.outputs[name]
	if o.Size == 0 {
		return
	}
	blob, err := d.tools.b.store.Open(c.link.space, o.Digest)
	if err == nil {
		defer blob.Close()
		_, err = io.Copy(saying{d.say, stderr}, blob)
	}
	if err != nil {
		d.tools.b.log.Info("what a tool said could not be told", "error", err)
	}
}

// A saying sends what is written to it to a command.
type saying struct {
	say    func(*Event) error
	stderr bool
}

func (s saying) Write(p []byte) (int, error) {
	for rest := range slices.Chunk(p, 64<<10) {
		if err := s.say(&Event{Output: &Output{Stderr: s.stderr, Data: rest}}); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}
