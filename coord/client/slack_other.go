//go:build !linux

package client

import "os/exec"

func startLazily(cmd *exec.Cmd) error { return cmd.Start() }

func usualTimers() {}
