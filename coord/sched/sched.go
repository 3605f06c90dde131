// Package sched decides. State.Step takes what happened and the time, and returns what to do; it
// reads no clock, does no I/O, draws no random numbers and ranges over no map, so that equal
// events give equal actions, byte for byte.
package sched
