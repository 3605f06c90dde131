package main

import "github.com/spf13/cobra"

// toolCmds are the commands that stand between a build and its compilers: not on Windows.
func (a *app) toolCmds() []*cobra.Command { return nil }
