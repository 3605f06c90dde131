//go:build unix

package client

import (
	"os"

	"golang.org/x/sys/unix"
)

// Terminal returns a function that tells the size of the terminal that f is, nil if it is none.
func Terminal(f *os.File) (size func() (columns, rows int)) {
	look := func() (int, int, bool) {
		ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
		if err != nil {
			return 0, 0, false
		}
		if ws.Col == 0 || ws.Row == 0 { // a terminal that does not say, as of some CI
			return 80, 24, true
		}
		return int(ws.Col), int(ws.Row), true
	}
	if _, _, ok := look(); !ok || os.Getenv("TERM") == "dumb" {
		return nil
	}
	return func() (int, int) {
		columns, rows, _ := look()
		return columns, rows
	}
}
