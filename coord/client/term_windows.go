package client

import (
	"os"

	"golang.org/x/sys/windows"
)

// Terminal returns a function that tells the size of the terminal that f is, nil if it is none.
func Terminal(f *os.File) (size func() (columns, rows int)) {
	h := windows.Handle(f.Fd())
	var mode uint32
	if windows.GetConsoleMode(h, &mode) != nil ||
		windows.SetConsoleMode(h, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) != nil {
		return nil
	}
	return func() (int, int) {
		var info windows.ConsoleScreenBufferInfo
		if windows.GetConsoleScreenBufferInfo(h, &info) != nil {
			return 80, 24
		}
		return int(info.Window.Right-info.Window.Left) + 1, int(info.Window.Bottom-info.Window.Top) + 1
	}
}
