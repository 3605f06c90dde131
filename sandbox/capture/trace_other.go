//go:build !linux || !(amd64 || arm64)

package capture

import (
	"context"
	"runtime"

	"gaggle/wire"
)

// Main returns: there is nothing to watch commands by.
func Main() {}

func watch(context.Context, Traced, string, uses) (int, []string, error) {
	return 0, nil, wire.Errorf(wire.CauseInvalid, "run it on Linux, on amd64 or arm64", "commands cannot be watched on %s/%s", runtime.GOOS, runtime.GOARCH)
}
