package client

import (
	"context"
	"encoding/binary"
	"net"

	"gaggle/coord/placeholder"
)

// The command of a build whose calls are deferred keeps the placeholders as well as the agent does, so
// that they stand until the build is ended if the agent is killed. It asks for them over the socket of
// tools.

// keeps stands for the tool in a call by which a command asks for the placeholders of its build.
const keeps = "/"

// keepCall draws such a call.
func keepCall(build string) []byte {
	body := keeps + "\x00/\x00" + BuildVar + "=" + build + "\x00" // the directory does not matter
	b := []byte("gag1")
	for _, n := range []int{16 + len(body), 0, 0, 0, 1} {
		b = binary.NativeEndian.AppendUint32(b, uint32(n))
	}
	return append(b, body...)
}

// keep keeps the placeholders of a build until the function that is returned is called, which returns
// those that nobody holds but this process.
func keep(ctx context.Context, building *Building) (left func() *placeholder.Kept, err error) {
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "unix", building.Socket)
	if err != nil {
		return nil, err
	}
	c := nc.(*net.UnixConn)
	if _, err := c.Write(keepCall(building.Build)); err != nil {
		c.Close()
		return nil, err
	}
	ended := make(chan *placeholder.Kept, 1)
	go func() { ended <- placeholder.Keep(c) }()
	return func() *placeholder.Kept {
		c.Close()
		return <-ended
	}, nil
}

// kept shares the placeholders of a build with its command, until that goes away.
func (t *tools) kept(ctx context.Context, c *net.UnixConn, call *toolCall) {
	b := t.buildOf(call)
	if b == nil {
		return
	}
	d := b.deferral()
	if d == nil {
		return
	}
	d.share(placeholder.NewShare(c))
	select {
	case <-ctx.Done():
	case <-d.over:
	}
}
