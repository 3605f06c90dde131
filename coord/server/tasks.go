package server

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"

	"gaggle/wire"
)

// maxPacked bounds a packed chunk as it is read: chunkBytes, or one thunk that is larger, does
// not compress at worst.
const maxPacked = 2 * chunkBytes

// WriteTasks writes tasks in the form in which the journal keeps them: packed chunks, each after
// its length in four bytes, big-endian.
func WriteTasks(w io.Writer, tasks []wire.TaskSpec) error {
	for len(tasks) > 0 {
		n := chunkEnd(tasks)
		b := packTasks(tasks[:n])
		if _, err := w.Write(binary.BigEndian.AppendUint32(nil, uint32(len(b)))); err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		tasks = tasks[n:]
	}
	return nil
}

// ReadTasks yields what WriteTasks wrote until yield reports false.
func ReadTasks(r io.Reader, yield func(*wire.TaskSpec) bool) error {
	in := bufio.NewReader(r)
	for {
		var head [4]byte
		if _, err := io.ReadFull(in, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(head[:])
		if n > maxPacked {
			return errMalformed
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(in, b); err != nil {
			return err
		}
		tasks, err := unpackTasks(b)
		if err != nil {
			return err
		}
		for i := range tasks {
			if !yield(&tasks[i]) {
				return nil
			}
		}
	}
}
