package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gaggle/coord/graph"
	"gaggle/wire"
)

// What is wrong with a command line is said in our words, all of them here: cobra's and pflag's are for
// those who program.

// usage makes an error about how a command was called.
func usage(c *cobra.Command, hint, format string, args ...any) error {
	return wire.Errorf(wire.CauseInvalid, cmp.Or(hint, c.CommandPath()+" --help tells more"), "%s: %s", c.CommandPath(), fmt.Sprintf(format, args...))
}

// someArgs asks for so many arguments, or more if most is below 0. Of the first it says what it is
// and how to find one.
func someArgs(what, hint string, least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usage(c, hint, "name %s", what)
		case most >= 0 && len(args) > most:
			return usage(c, c.UseLine(), "%q is too much", args[most])
		}
		return nil
	}
}

var (
	noArgs = someArgs("", "", 0, 0)
	oneJob = someArgs("a job", "coord status lists them", 1, 1)
)

// firstArg returns the first argument, "" if there is none.
func firstArg(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// knownCommand is about what is no command of one that has some.
func knownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return wire.Errorf(wire.CauseInvalid, graph.Nearest(args[0], names), "unknown command %q", strings.TrimPrefix(c.CommandPath()+" "+args[0], "coord "))
}

// knownTopic has coord help say what is no command.
func knownTopic(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	help, _, err := root.Find([]string{"help"})
	if err != nil {
		return
	}
	help.Args = func(_ *cobra.Command, args []string) error {
		if c, _, err := root.Find(args); err != nil || c == root {
			return knownCommand(root, args)
		}
		return nil
	}
}

// exclusive refuses a command line with more than one of these flags, beside what is refused already.
func exclusive(c *cobra.Command, flags ...string) {
	before := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) error {
		if before != nil {
			if err := before(c, args); err != nil {
				return err
			}
		}
		var given []string
		for _, f := range flags {
			if c.Flags().Changed(f) {
				given = append(given, "--"+f)
			}
		}
		if len(given) < 2 {
			return nil
		}
		return usage(c, "give one of them", "%s exclude each other", strings.Join(given, " and "))
	}
}

// badFlag is about flags that cannot be parsed.
func badFlag(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var bare *pflag.ValueRequiredError
	var bad *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		return unknownFlag(c, unknown)
	case errors.As(err, &bare):
		return usage(c, "", "--%s needs a value: %s", bare.GetFlag().Name, valueText(bare.GetFlag()))
	case errors.As(err, &bad):
		var own *wire.Error
		if errors.As(err, &own) {
			return usage(c, own.Hint, "--%s: %s", bad.GetFlag().Name, own.Message)
		}
		return usage(c, "", "--%s is %q, and should be %s", bad.GetFlag().Name, bad.GetValue(), valueText(bad.GetFlag()))
	}
	return usage(c, "", "%v", err)
}

// unknownFlag names the flag that may have been meant.
func unknownFlag(c *cobra.Command, unknown *pflag.NotExistError) error {
	name := unknown.GetSpecifiedName()
	if short := unknown.GetSpecifiedShortnames(); short != "" {
		return usage(c, c.CommandPath()+" --help lists the flags", "unknown flag -%s", name)
	}
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	hint := ""
	if near := graph.Nearest(name, names); strings.HasPrefix(near, "did you mean") {
		hint = strings.Replace(near, `"`, `"--`, 1)
	}
	return usage(c, cmp.Or(hint, c.CommandPath()+" --help lists the flags"), "unknown flag --%s", name)
}

// valueText says what the value of a flag is.
func valueText(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "duration":
		return "a duration, as 90s, 10m or 1h30m"
	case "int", "uint64":
		return "a number"
	case "bool":
		return "true or false"
	}
	_, about := pflag.UnquoteUsage(f)
	return about
}
