package placeholder

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A Share is this process's side of a connection to one that keeps its placeholders as well: a lease
// stands for as long as anybody has the file open that it was taken on, so that nobody sees a
// placeholder if this process is killed.
type Share struct {
	conn *net.UnixConn
	last atomic.Uint64

	mu sync.Mutex // held from a question to its answer
}

// NewShare returns the side of a connection at whose other end is Keep.
func NewShare(conn *net.UnixConn) *Share { return &Share{conn: conn} }

// A message is a letter and a number; the other side answers with one byte.
const (
	given   = '+' // with a file
	dropped = '-'

	messageSize = 9
)

// answerWithin is how long the other side may take, which only waits for itself.
const answerWithin = 10 * time.Second

// send sends a message and waits until the other side has done as it says.
func (s *Share) send(kind byte, number uint64, rights []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := binary.NativeEndian.AppendUint64([]byte{kind}, number)
	if _, _, err := s.conn.WriteMsgUnix(m, rights, nil); err != nil {
		return err
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(answerWithin)); err != nil {
		return err
	}
	var answer [1]byte
	_, err := s.conn.Read(answer[:])
	return err
}

// give has the other side keep a file, too, and returns its number.
func (s *Share) give(f *os.File) (uint64, error) {
	if s == nil {
		return 0, nil
	}
	n := s.last.Add(1)
	return n, s.send(given, n, unix.UnixRights(int(f.Fd())))
}

// drop has the other side close a file. One that is gone has.
func (s *Share) drop(number uint64) {
	if s != nil {
		_ = s.send(dropped, number, nil)
	}
}

// Kept are placeholders of a process that was killed.
type Kept struct{ files map[uint64]*os.File }

// Keep keeps the placeholders that the other side of a connection shares, until that is gone, and
// returns those that it has still had.
func Keep(conn *net.UnixConn) *Kept {
	k := &Kept{map[uint64]*os.File{}}
	defer conn.Close() // the other side does not wait for an answer: out of file descriptors, say
	for {
		var m [messageSize]byte
		oob := make([]byte, unix.CmsgSpace(4))
		n, oobn, _, _, err := conn.ReadMsgUnix(m[:], oob)
		if err != nil || n != len(m) { // messages come whole: they are smaller than any buffer
			return k
		}
		number := binary.NativeEndian.Uint64(m[1:])
		switch m[0] {
		case given:
			f, err := received(oob[:oobn])
			if err != nil { // the other side holds them still
				for _, f := range k.files {
					f.Close()
				}
				clear(k.files)
				return k
			}
			k.files[number] = f
		case dropped:
			k.files[number].Close() // a file that is not there: an error, which is no matter
			delete(k.files, number)
		}
		if _, err := conn.Write(m[:1]); err != nil {
			return k
		}
	}
}

// received returns the file that came with a message.
func received(oob []byte) (*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	if len(messages) != 1 {
		return nil, errors.New("a placeholder came without its file")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.Join(errors.New("a placeholder came without its file"), err)
	}
	unix.CloseOnExec(fds[0])
	return os.NewFile(uintptr(fds[0]), "placeholder"), nil
}

// Remove takes the placeholders away, and lets go of them. Whoever waits for one has to be ended before.
func (k *Kept) Remove() error {
	var errs []error
	for _, f := range k.files {
		info, err := f.Stat()
		if err == nil {
			id, _ := IDOf(info)
			p := &File{id: id, f: f}
			if err = p.Remove(func() {}); errors.Is(err, ErrLost) {
				err = nil // the other side had let go of it
			}
		}
		errs = append(errs, err)
	}
	clear(k.files)
	return errors.Join(errs...)
}
