package infer

import "strings"

// profiles notes the profiles that a compile reads, left by earlier runs of the program. One that
// is absent costs a warning only, and its name is noted as looked for in vain.
func (c *cc) profiles(s source) {
	if !phases[s.language].compiled || c.mode == Preprocess || c.mode == Check {
		return
	}
	for _, u := range c.profile {
		switch {
		case u.name == "-fauto-profile" && u.value == "":
			c.profileFile("fbdata.afdo")
		case u.name == "-fauto-profile", u.name == "-fprofile-sample-use":
			c.profileFile(u.value)
		case c.clang && (u.value == "" || c.directory(u.value)):
			c.profileFile(join(u.value, "default.profdata"))
		case c.clang:
			c.profileFile(u.value)
		default:
			c.counts(s, u.value)
		}
	}
}

// counts says which .gcda gcc reads for a source: beside the output, or in a directory under the
// whole path of that with # for each slash (mangle_path in gcc's coverage.cc).
func (c *cc) counts(s source, dir string) {
	name := c.aux(s) + ".gcda"
	if c.profileDir != "" {
		dir = c.profileDir
	}
	if dir == "" {
		c.profileFile(name)
		return
	}
	whole := c.at(name)
	folded := strings.HasPrefix(name, "/") || strings.Contains(whole, "/.") || strings.Contains(whole, "//")
	if folded || !c.directory(dir) || strings.HasSuffix(dir, "/") {
		c.local("the profile of %s in %s is not modelled", s.name, dir)
		return
	}
	c.profileFile(dir + "/" + strings.ReplaceAll(whole, "/", "#"))
}

func (c *cc) profileFile(name string) {
	if c.file(name) {
		c.readsFile(name)
	} else {
		c.absent(name)
	}
}
