//go:build !linux

package doctor

import "runtime"

func look(Config) []Finding {
	return []Finding{{Name: "system", State: Broken, Found: runtime.GOOS, Fix: "run nodes on Linux",
		Works: "coord: submitting to a mesh, fetching targets, serving inputs"}}
}

func near(dir string) string { return dir }
