package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"gaggle/wire"
)

// Options say which agent a command talks to.
type Options struct {
	State string // state directory, absolute
	Build string // of this program; an agent of another build is asked to go
	// Program and Args start an agent for the state directory, whose path is appended.
	Program string
	Args    []string
}

const (
	// startTimeout is how long an agent may take until it listens: it re-hashes what is newer
	// than the last checkpoint of its store after an unclean stop.
	startTimeout = 60 * time.Second
	// answerTimeout is how long a live agent may take to say hello.
	answerTimeout = 10 * time.Second
	// retryAfter is the first pause before asking again while two commands race to start an
	// agent, or one ends while another begins.
	retryAfter = 10 * time.Millisecond
)

// A Conn is a connection to an agent that carries one command. Cancel and Close may be called
// from any goroutine.
type Conn struct {
	conn   *net.UnixConn
	frames *wire.FrameReader
	w      *wire.FrameWriter
}

// errAgain says that the agent is on its way out, or not there yet.
var errAgain = errors.New("the background process is ending")

// Dial connects to the agent of a state directory and starts one if there is none.
func Dial(ctx context.Context, opt Options) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	d := stateDir(opt.State)
	if err := privateDir(opt.State); err != nil {
		return nil, fmt.Errorf("preparing the state directory: %w", err)
	}
	sock, err := d.socket()
	if err != nil {
		return nil, err
	}
	for pause := retryAfter; ; pause = min(2*pause, time.Second) {
		c, err := connect(ctx, sock, opt.Build)
		if err == nil {
			return c, nil
		}
		var notThere *net.OpError
		switch {
		case errors.As(err, &notThere) && notThere.Op == "dial":
			if err := start(ctx, d, opt); err != nil {
				return nil, err
			}
		case errors.Is(err, os.ErrDeadlineExceeded):
			pid := holder(d.path("agent.lock"))
			return nil, wire.Errorf(wire.CauseUnreachable, fmt.Sprintf("if it hangs, end it with  kill -9 %d", pid),
				"the background process (pid %d, of %s) does not answer", pid, opt.State)
		case !errors.Is(err, errAgain):
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, wire.Errorf(wire.CauseUnreachable, "see "+d.path("agent.log"), "no background process came up for %s within %v", opt.State, startTimeout)
		case <-time.After(pause):
		}
	}
}

// connect dials the socket and agrees with the agent on the build.
func connect(ctx context.Context, sock, build string) (*Conn, error) {
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "unix", sock)
	if err != nil {
		return nil, err
	}
	c := &Conn{conn: nc.(*net.UnixConn), frames: wire.NewFrameReader(nc), w: wire.NewFrameWriter(nc)}
	if err := c.greet(build); err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

func (c *Conn) greet(build string) error {
	if _, err := checkOwner(c.conn); err != nil {
		return err
	}
	if err := c.conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	w, err := c.ask(&toAgent{Hello: &hello{Build: build}})
	if err != nil {
		return err
	}
	if w.Build == build {
		return c.conn.SetDeadline(time.Time{})
	}
	if w, err = c.ask(&toAgent{Quit: true}); err != nil {
		return err
	}
	if !w.Quits {
		return wire.Errorf(wire.CauseVersion, fmt.Sprintf("wait for it, or end it with  kill %d  (its jobs can be resumed with coord attach)", w.PID),
			"the background process (pid %d) is of another build of coord and has work to do: %s", w.PID, w.Busy)
	}
	return errAgain
}

// Stop ends the agent of a state directory, whatever it does, and waits until the directory is
// free. It reports false if there was none, and how many jobs it followed, which go on. Those of a mesh
// wait until another agent serves their inputs.
func Stop(ctx context.Context, state string) (ended bool, jobs int, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	d := stateDir(state)
	sock, err := d.socket()
	if err != nil {
		return false, 0, err
	}
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "unix", sock)
	if err != nil {
		return false, 0, nil
	}
	defer nc.Close()
	c := &Conn{conn: nc.(*net.UnixConn), frames: wire.NewFrameReader(nc), w: wire.NewFrameWriter(nc)}
	if err := c.conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return false, 0, err
	}
	// One that does not answer is waited for below all the same.
	if _, err := c.ask(&toAgent{Hello: &hello{}}); err == nil {
		if w, err := c.ask(&toAgent{Quit: true, Force: true}); err == nil {
			jobs = w.Jobs
		}
	}
	for {
		release, pid, held, err := LockDir(state, "agent.lock")
		if err != nil {
			return false, 0, err
		}
		if held {
			release()
			return true, jobs, nil
		}
		select {
		case <-ctx.Done():
			return false, 0, wire.Errorf(wire.CauseUnreachable, fmt.Sprintf("kill -9 %d", pid), "the background process (pid %d) does not end", pid)
		case <-time.After(retryAfter):
		}
	}
}

// ask sends a frame and reads a welcome. A connection that breaks is one to an agent that ends.
func (c *Conn) ask(f *toAgent) (*welcome, error) {
	var e Event
	err := c.w.Write(f)
	if err == nil {
		err = c.frames.Read(&e)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, err
	case err != nil:
		return nil, errAgain
	case e.End != nil && e.End.Error != nil:
		return nil, e.End.Error
	case e.Welcome == nil:
		return nil, wire.Errorf(wire.CauseVersion, "end it by hand", "what listens for this state directory does not speak as coord does")
	}
	return e.Welcome, nil
}

// start runs an agent and waits until it listens. That another one was faster is no error.
func start(ctx context.Context, d stateDir, opt Options) error {
	logPath := d.path("agent.log")
	log, err := openLog(logPath)
	if err != nil {
		return err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command(opt.Program, append(opt.Args[:len(opt.Args):len(opt.Args)], opt.State)...)
	cmd.Dir = string(d)
	cmd.Stdout, cmd.Stderr = w, log
	cmd.SysProcAttr = detached()
	err = startLazily(cmd)
	w.Close()
	if err != nil {
		return wire.Errorf(wire.CauseInternal, "", "starting the background process: %v", err)
	}
	// It outlives us; if it ends first its exit is of no interest, the pipe has told.
	go func() { _ = cmd.Wait() }()
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Now()) })
	defer stop()
	b, err := io.ReadAll(io.LimitReader(r, wire.MaxText))
	return started(ctx, string(b), err, logPath)
}

// started judges what an agent said about its start.
func started(ctx context.Context, said string, err error, logPath string) error {
	switch {
	case ctx.Err() != nil:
		return wire.Errorf(wire.CauseUnreachable, "see "+logPath, "the background process takes longer than %v to start", startTimeout)
	case err != nil:
		return fmt.Errorf("starting the background process: %w", err)
	case said == saidReady, said == saidTaken:
		return nil
	}
	e := new(wire.Error)
	if json.Unmarshal([]byte(said), e) == nil && e.Message != "" {
		return e
	}
	return wire.Errorf(wire.CauseInternal, "see "+logPath, "the background process ended while it started%s", lastLine(logPath))
}

// What an agent writes to its standard output when it has started; else it is a JSON
// wire.Error.
const (
	saidReady = "ready\n"
	saidTaken = "taken\n"
)

// maxLog is the size from which a log is moved aside; with the one before it is twice that.
const maxLog = 8 << 20

func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// lastLine returns ": " and the last line of a file, or nothing.
func lastLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	b := make([]byte, min(info.Size(), 1024))
	if _, err := f.ReadAt(b, info.Size()-int64(len(b))); err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if line := lines[len(lines)-1]; line != "" {
		return ": " + line
	}
	return ""
}

// inputChunk is the size in which a graph on standard input travels.
const inputChunk = 256 << 10

// Start sends the command, and input after it if there is any. An agent that refuses early stops
// reading: that is no error, Next tells why.
func (c *Conn) Start(cmd *Command, input io.Reader) error {
	if err := c.w.Write(&toAgent{Command: cmd}); err != nil {
		return lost(err)
	}
	if input == nil {
		return nil
	}
	buf := make([]byte, inputChunk)
	for {
		n, err := io.ReadFull(input, buf)
		if n > 0 && c.w.Write(&toAgent{Input: buf[:n]}) != nil {
			return nil
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			_ = c.w.Write(&toAgent{InEnd: true})
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the graph from standard input: %w", err)
		}
	}
}

// Next returns the next event. After the one with End there is none.
func (c *Conn) Next() (*Event, error) {
	e := new(Event)
	if err := c.frames.Read(e); err != nil {
		return nil, lost(err)
	}
	return e, nil
}

// Cancel tells the agent that the user interrupted the command.
func (c *Conn) Cancel() error { return c.w.Write(&toAgent{Cancel: true}) }

// pause asks for a Resume with this number.
func (c *Conn) pause(number uint64) error { return c.w.Write(&toAgent{Pause: number}) }

// over tells the agent that a build has ended.
func (c *Conn) over(how over) error { return c.w.Write(&toAgent{Over: &how}) }

// Close ends the connection. A job that has Started goes on.
func (c *Conn) Close() error { return c.conn.Close() }

// lost is the error of a connection to an agent that has ended, or was killed.
func lost(err error) error {
	message := "the background process was ended"
	if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		message += fmt.Sprintf(" (%v)", err)
	}
	return wire.Errorf(wire.CauseUnreachable, "run the command again; coord status shows the jobs it knows", "%s", message)
}
