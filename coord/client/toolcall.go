package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"gaggle/coord/placeholder"
	"gaggle/wire"
)

// A toolCall is a tool's command line as a shim sends it; coord/shim/shim.c draws the bytes.
type toolCall struct {
	tool  string // the real one, absolute
	dir   string // working directory, absolute
	args  []string
	env   []string // NAME=value
	umask fs.FileMode
	color bool // standard error is a terminal
	pid   int  // of who calls; 0 is not known
}

// maxToolCall bounds a call: more than the kernel passes to a program.
const maxToolCall = 64 << 20

// toolHead are the numbers at the start of a call.
type toolHead struct {
	Magic                  [4]byte
	Bytes                  uint32 // that follow this field
	Umask, Terminal        uint32
	Arguments, Environment uint32
}

var errToolCall = errors.New("what came over the socket is no call of a tool")

// readToolCall reads a call.
func readToolCall(r io.Reader) (*toolCall, error) {
	var h toolHead
	if err := binary.Read(r, binary.NativeEndian, &h); err != nil {
		return nil, err
	}
	const fixed = 16 // bytes of the numbers after Bytes
	if string(h.Magic[:]) != "gag1" || h.Bytes < fixed || h.Bytes > maxToolCall {
		return nil, errToolCall
	}
	b := make([]byte, h.Bytes-fixed)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	n := 2 + int64(h.Arguments) + int64(h.Environment)
	if int64(bytes.Count(b, []byte{0})) != n || b[len(b)-1] != 0 {
		return nil, errToolCall
	}
	texts := bytes.Split(b[:len(b)-1], []byte{0})
	all := make([]string, len(texts))
	for i, t := range texts {
		all[i] = string(t)
	}
	c := &toolCall{tool: all[0], dir: all[1], args: all[2 : 2+h.Arguments], env: all[2+h.Arguments:], umask: fs.FileMode(h.Umask) & 0o777, color: h.Terminal != 0}
	if !filepath.IsAbs(c.tool) || !filepath.IsAbs(c.dir) {
		return nil, errToolCall
	}
	return c, nil
}

// A toolAnswer sends a shim what its tool would have done.
type toolAnswer struct{ w io.Writer }

func (a toolAnswer) frame(kind byte, b []byte) error {
	_, err := a.w.Write(append(binary.NativeEndian.AppendUint32([]byte{kind}, uint32(len(b))), b...))
	return err
}

// runReal has the shim run the tool itself.
func (a toolAnswer) runReal() error { return a.frame('r', nil) }

func (a toolAnswer) exit(code uint32) error {
	return a.frame('x', binary.NativeEndian.AppendUint32(nil, code))
}

// stream copies text for standard output ('o') or error ('e').
func (a toolAnswer) stream(kind byte, r io.Reader) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := a.frame(kind, buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// variable returns the value of a variable of the call, "" if it is not set.
func (c *toolCall) variable(name string) string {
	for _, e := range c.env {
		if len(e) > len(name) && e[len(name)] == '=' && e[:len(name)] == name {
			return e[len(name)+1:]
		}
	}
	return ""
}

// MeshVar is the variable with the mesh of commands that are not given one; NoMesh is none.
const MeshVar = "GAGGLE_MESH"

// TrustVar is the variable with the policy of commands that are not given one.
const TrustVar = "GAGGLE_TRUST"

// PortableVar is the variable that says, if it is not empty, that what calls make shall not depend on
// the directory.
const PortableVar = "GAGGLE_PORTABLE"

// trust returns whose values the call believes.
func (c *toolCall) trust() (wire.Trust, error) {
	text := c.variable(TrustVar)
	if text == "" {
		return wire.TrustAny, nil
	}
	return wire.ParseTrust(text)
}

// toolSocket returns where the agent listens for tools.
func (d stateDir) toolSocket() (string, error) {
	path, err := d.socket()
	return path + toolSuffix, err
}

// serveTool answers one shim. Whatever goes wrong here, the shim can run the tool itself.
func (a *agent) serveTool(c *net.UnixConn) {
	defer c.Close()
	stop := context.AfterFunc(a.ctx, func() { c.Close() })
	defer stop()
	pid, err := checkOwner(c)
	if err != nil {
		a.log.Warn("a tool call is refused", "error", err)
		return
	}
	call, err := readToolCall(c)
	if err != nil {
		a.log.Warn("a tool call cannot be read", "error", err)
		return
	}
	call.pid = pid
	if call.tool == keeps {
		a.tools.kept(a.ctx, c, call)
		return
	}
	ctx, gone := context.WithCancel(a.ctx)
	defer gone()
	go func() { // it sends nothing more: reading ends when it goes away, by Ctrl-C say
		_, _ = io.Copy(io.Discard, c)
		gone()
	}()
	answer := toolAnswer{c}
	if b := a.tools.buildOf(call); b != nil {
		defer b.enter()()
		if err = b.answer(ctx, call, answer); err == nil || ctx.Err() != nil {
			return
		}
		b.here(call, err)
	}
	if err := answer.runReal(); err != nil {
		a.log.Info("a tool did not wait for its answer", "error", err)
	}
}

// place writes an output where the tool would have: into a file that is not there before it is
// whole.
func place(r io.Reader, path string, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".gaggle-")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Chmod(mode)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = placeholder.AsNew(path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}
