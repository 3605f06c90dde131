package infer

import "slices"

// Models knows the tools of a user's file as well as those built in, which it goes before. The
// nil *Models has none. It does not change and is safe for concurrent use.
type Models struct {
	tools map[string]*userTool // by the plain name of the program
}

// Tools lists the names of the programs it knows, sorted.
func (m *Models) Tools() []string {
	if m == nil {
		return nil
	}
	var names []string
	for n := range m.tools {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Roles of a user's flags and words.
const (
	userOutput role = own + iota
	userUpdate      // read and written
)

// userRoles are their names in the file.
var userRoles = map[string]role{"pass": pass, "input": reads, "output": userOutput, "update": userUpdate, "question": question}

// A userTool is a program that a user's file describes.
type userTool struct {
	flags      table
	positional []role
	rest       bool // the last of positional holds for all that follow
	prints     bool
	env        []string
}

// user takes a call of a user's tool apart. Nothing passes that its model does not name.
func (r *reader) user(u *userTool) {
	c := r.call
	c.Mode, c.Prints = User, u.prints
	n, flags := 0, true
	for words := r.words; len(words) > 0 && c.Local == ""; {
		w := words[0]
		if w == "--" && flags {
			flags, words = false, words[1:]
			continue
		}
		if flags && len(w) > 1 && w[0] == '-' {
			x, ok := u.flags.find(words)
			if !ok {
				r.local("%s is no flag in the model of %s", w, r.name)
				return
			}
			r.act(x.role, x)
			words = words[len(x.words):]
			continue
		}
		i := min(n, len(u.positional)-1)
		if i < 0 || n > i && !u.rest {
			r.local("%s is one word more than the model of %s has", w, r.name)
			return
		}
		r.act(u.positional[i], use{flag: flag{role: u.positional[i]}, words: words[:1], value: w})
		n++
		words = words[1:]
	}
	r.keepEnv(u.env...)
}

// act does what a role says of a name.
func (r *reader) act(role role, x use) {
	switch role {
	case reads, userUpdate:
		if x.value == "-" || !r.file(x.value) && x.value != "/dev/null" {
			r.local("the input %s is not there", x.value)
			return
		}
		r.readsFile(x.value)
		if role == userUpdate {
			r.writes(Output{Path: x.value, InPlace: true})
		}
	case userOutput:
		if x.value == "-" {
			r.call.Prints = true
			return
		}
		r.writes(Output{Path: x.value})
	default:
		r.common(x)
	}
}

// Model is like the function of that name, and knows the user's tools as well.
func (m *Models) Model(tool string, argv []string, dir string, env []string, files Files) *Call {
	return newReader(tool, dir, env, files).run(m, argv)
}

func (m *Models) tool(name string) *userTool {
	if m == nil {
		return nil
	}
	return m.tools[name]
}
